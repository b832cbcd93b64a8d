"""
Certificates and keys: do they belong together, and are they valid now?

Works on PEM bytes; pure but for the clock, which is passed in. Uses ``cryptography``, which Salt
itself depends on.
"""

import contextlib
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


def expiry(parts):
    """
    When certificates end.

    parts
        ``{"ca": bytes, "cert": bytes}`` in PEM form; parts may be left out.

    Returns ``{part: aware datetime}``: of a bundle of CAs the latest end, of a certificate with its
    chain its own. Raises ValueError where one cannot be read.
    """
    result = {}
    for part in ("ca", "cert"):
        if part in parts:
            try:
                ends = [_period(certificate)[1] for certificate in _certificates(parts[part])]
            except _UNREADABLE as err:
                raise ValueError("the %s is no PEM certificate (%s)" % (part, _short(err))) from err
            result[part] = ends[0] if part == "cert" else max(ends)
    return result


def foreign_issuer(parts):
    """
    Who issued the client certificate, where that is none of the CAs given (text); else None.

    etcd may trust another CA than the one that issued its own certificate: that is no fault in itself.
    """
    try:
        own, known = _certificates(parts["cert"]), _certificates(parts["ca"])
    except (KeyError, *_UNREADABLE):
        return None
    # A bundle may hold the CAs between the certificate and the one that is trusted.
    issuers = {item.subject for item in [*own[1:], *known]}
    return None if own[0].issuer in issuers else own[0].issuer.rfc4514_string()


def ends(parts):
    """What :func:`expiry` says of each part as text (ISO 8601); what cannot be read is left out."""
    found = {}
    for part in parts:
        with contextlib.suppress(ValueError):
            found.update((name, end.isoformat()) for name, end in expiry({part: parts[part]}).items())
    return found


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
            # Either the certificate is of tomorrow or the clock is of yesterday.
            seen = "is not valid before %s, and this host's clock says %s"
            return [("error", part, seen % (begin.isoformat(), now.isoformat(timespec="seconds")))]
        return [("error", part, "expired on %s" % end.isoformat())]
    left = (max(valid) - now).days
    if left < WARN_DAYS:
        return [("warning", part, "expires in %d days, on %s" % (left, max(valid).isoformat()))]
    return []


def _short(err):
    return str(err).split("\n")[0][:120] or type(err).__name__
