"""
Certificates and keys: do they belong together, and are they valid now?

Works on PEM bytes; pure but for the clock, which is passed in. Uses ``cryptography``, which Salt
itself depends on.
"""

import datetime
import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

WARN_DAYS = 30
# A kind of key that this release of cryptography does not know is none of the others.
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)
_BEGIN = b"-----BEGIN CERTIFICATE-----"


def digest(parts):
    """One text for the contents of several files: changes when any of them does."""
    joined = "\n".join("%s %s" % (name, hashlib.sha256(parts[name]).hexdigest()) for name in sorted(parts))
    return hashlib.sha256(joined.encode("ascii")).hexdigest()


def _certificates(pem):
    """All certificates of a bundle; raises ValueError where one cannot be read."""
    pieces = [_BEGIN + piece for piece in pem.split(_BEGIN)[1:]]
    if not pieces:
        raise ValueError("no certificate in it")
    return [x509.load_pem_x509_certificate(piece) for piece in pieces]


def _public_bytes(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _period(certificate):
    """Begin and end of validity in UTC; older releases of cryptography know only naive times."""
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    utc = datetime.timezone.utc
    return (
        certificate.not_valid_before.replace(tzinfo=utc),
        certificate.not_valid_after.replace(tzinfo=utc),
    )


def findings(parts, now):
    """
    What is wrong with a set of certificates.

    parts
        ``{"ca": bytes, "cert": bytes, "key": bytes}`` in PEM form; parts may be left out.
    now
        The time to judge by (aware datetime).

    Returns a list of ``(level, part, what)`` with level ``error`` or ``warning``.
    """
    result = []
    loaded = {}
    for part in ("ca", "cert"):
        if part in parts:
            try:
                loaded[part] = _certificates(parts[part])
            except _UNREADABLE as err:
                result.append(("error", part, "is no PEM certificate (%s)" % _short(err)))
    for part, certificates in loaded.items():
        result.extend(_dates(part, certificates, now))
    if "key" in parts:
        try:
            key = serialization.load_pem_private_key(parts["key"], password=None)
        except _UNREADABLE as err:
            result.append(("error", "key", "is no unencrypted PEM private key (%s)" % _short(err)))
        else:
            if "cert" in loaded and not _belongs(key, loaded["cert"][0]):
                result.append(("error", "key", "does not belong to the certificate"))
    return result


def _belongs(key, certificate):
    try:
        return _public_bytes(certificate.public_key()) == _public_bytes(key.public_key())
    except _UNREADABLE:
        return False


def _dates(part, certificates, now):
    # A bundle of CAs may hold expired ones beside a valid one; that harms nobody.
    periods = [_period(certificate) for certificate in certificates]
    if part == "cert":
        periods = periods[:1]
    valid = [end for begin, end in periods if begin <= now <= end]
    if not valid:
        begin, end = periods[0]
        if now < begin:
            return [("error", part, "is not valid before %s" % begin.isoformat())]
        return [("error", part, "expired on %s" % end.isoformat())]
    left = (max(valid) - now).days
    if left < WARN_DAYS:
        return [("warning", part, "expires in %d days, on %s" % (left, max(valid).isoformat()))]
    return []


def _short(err):
    return str(err).split("\n")[0][:120] or type(err).__name__
