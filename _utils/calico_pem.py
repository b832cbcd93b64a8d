"""
Certificates and keys: do they belong together, are they valid now, and can Calico read them?

Calico is written in Go, whose reader of PEM takes other files than OpenSSL's: what counts here is what Go
reads (``encoding/pem``, ``crypto/tls``, and etcd's own client, which wants nothing but certificates in
a file of CAs). Works on PEM bytes; pure but for the clock, which is passed in. Uses ``cryptography``,
which Salt itself depends on.
"""

import base64
import binascii
import contextlib
import dataclasses
import datetime
import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

WARN_DAYS = 30
# A kind of key that this release of cryptography does not know is none of the others.
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)
_BEGIN, _END, _DASHES = b"-----BEGIN ", b"\n-----END ", b"-----"
_CERTIFICATE = "CERTIFICATE"
# The only elliptic curves that Go has.
_CURVES = ("secp224r1", "secp256r1", "secp384r1", "secp521r1")


def digest(parts):
    """One text for the contents of several files: changes when any of them does."""
    joined = "\n".join("%s %s" % (name, hashlib.sha256(parts[name]).hexdigest()) for name in sorted(parts))
    return hashlib.sha256(joined.encode("ascii")).hexdigest()


# --- PEM as Go reads it ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Block:
    """What stands between BEGIN and END: the word behind them, and the contents (DER, bytes)."""

    kind: str
    der: bytes

    def text(self):
        """The block alone, as it is usually written (bytes)."""
        encoded = base64.b64encode(self.der)
        lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
        head, foot = ("-----%s %s-----" % (word, self.kind) for word in ("BEGIN", "END"))
        return b"\n".join([head.encode("utf-8"), *lines, foot.encode("utf-8"), b""])


def blocks(pem):
    """
    The blocks of a file, and what Go passes over.

    pem
        The file (bytes). Text around the blocks means nothing; a block begins at the start of a line.

    Returns ``(blocks, skipped)``: a list of :class:`Block`, and the numbers of the lines with a BEGIN that
    Go makes no block of, but for those in comments (``#``).
    """
    found, skipped = [], []
    at = 0
    while True:
        at = pem.find(_BEGIN, at)
        if at < 0:
            return found, skipped
        block, end = (None, at) if at and pem[at - 1 : at] != b"\n" else _block(pem, at)
        if block:
            found.append(block)
            at = end
        else:
            if not pem[pem.rfind(b"\n", 0, at) + 1 : at].lstrip().startswith(b"#"):
                skipped.append(pem.count(b"\n", 0, at) + 1)
            at += len(_BEGIN)


def _block(pem, begin):
    """The block that begins there and where it ends, or (None, 0) where Go finds none."""
    none = None, 0
    head, at = _line(pem, begin)
    if not head.endswith(_DASHES) or len(head) < len(_BEGIN) + len(_DASHES):
        return none
    kind = head[len(_BEGIN) : -len(_DASHES)]
    headed = False
    while True:
        if at >= len(pem):
            return none
        line, after = _line(pem, at)
        if b":" not in line:
            break
        headed, at = True, after
    # Empty and without headers, END may follow at once.
    end = at - 1 if not headed and pem.startswith(_END[1:], at) else pem.find(_END, at)
    if end < 0:
        return none
    foot, after = _line(pem, end + 1)
    if foot != _END[1:] + kind + _DASHES:
        return none
    try:
        encoded = pem[at : max(end, at)].translate(None, b" \t\r\n")
        return Block(kind.decode("utf-8", "replace"), base64.b64decode(encoded, validate=True)), after
    except (ValueError, binascii.Error):
        return none


def _line(pem, at):
    """The line that begins there, without blanks at its end, and where the next one begins."""
    end = pem.find(b"\n", at)
    line, after = (pem[at:], len(pem)) if end < 0 else (pem[at:end], end + 1)
    return line[: -1 if line.endswith(b"\r") and end >= 0 else None].rstrip(b" \t"), after


def readable(part, pem):
    """
    Only what Go reads of a file, in the usual form (bytes): the certificates, or the key.

    part
        ``ca``, ``cert`` or ``key``.
    """
    found, _skipped = blocks(pem)
    if part == "key":
        return b"".join(block.text() for block in found if _is_key(block))
    return b"".join(block.text() for block in found if block.kind == _CERTIFICATE)


def _is_key(block):
    return block.kind == "PRIVATE KEY" or block.kind.endswith(" PRIVATE KEY")


def _certificates(pem):
    """All certificates of a bundle; raises ValueError where there is none, or one cannot be read."""
    found, skipped = blocks(pem)
    ders = [block.der for block in found if block.kind == _CERTIFICATE]
    certificates = [x509.load_der_x509_certificate(der) for der in ders]
    if not certificates:
        raise ValueError(_nothing("certificate", skipped))
    return certificates


def _nothing(what, skipped):
    if not skipped:
        return "no %s in it" % what
    return "no %s that Go reads: of line %d it makes nothing" % (what, skipped[0])


def _unknown_to_go(key, ed25519):
    """Why Go cannot use a key, public or private, or None where it can."""
    if isinstance(key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)):
        return None
    if isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)):
        return None if key.curve.name in _CURVES else "is of the curve %s" % key.curve.name
    kind = type(key).__name__.strip("_").replace("PublicKey", "").replace("PrivateKey", "")
    return None if ed25519 and kind == "Ed25519" else "is of the kind %s" % kind


# --- what is wrong ---------------------------------------------------------------------------------


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


def findings(parts, now, ed25519=True):
    """
    What is wrong with a set of certificates.

    parts
        ``{"ca": bytes, "cert": bytes, "key": bytes}`` in PEM form; parts may be left out.
    now
        The time to judge by (aware datetime).
    ed25519
        Whether Calico of this release was built with a Go that knows keys of this kind (bool).

    Returns a list of ``(level, part, what)`` with level ``error`` or ``warning``.
    """
    result = []
    loaded = {}
    for part in ("ca", "cert"):
        if part in parts:
            try:
                loaded[part] = _certificates(parts[part])
                result.extend(_unread(part, parts[part]))
                result.extend(_kinds_of_key(part, loaded[part], ed25519))
            except _UNREADABLE as err:
                result.append(("error", part, "is no PEM certificate (%s)" % _short(err)))
    for part, certificates in loaded.items():
        result.extend(_dates(part, certificates, now))
    if "key" in parts:
        try:
            key = _key(parts["key"])
        except _UNREADABLE as err:
            result.append(("error", "key", "is no unencrypted PEM private key (%s)" % _short(err)))
        else:
            unknown = _unknown_to_go(key, ed25519)
            if unknown:
                result.append(("error", "key", _ACCEPTED % unknown))
            elif "cert" in loaded and not _belongs(key, loaded["cert"][0]):
                result.append(("error", "key", "does not belong to the certificate"))
    return result


_ACCEPTED = "%s; Calico reads RSA and the curves P-224, P-256, P-384 and P-521"


def _key(pem):
    """The first key of a file, as Go takes it; raises one of _UNREADABLE."""
    found, skipped = blocks(pem)
    keys = [block for block in found if _is_key(block)]
    if not keys:
        raise ValueError(_nothing("key", skipped))
    return serialization.load_der_private_key(keys[0].der, password=None)


def _unread(part, pem):
    """What stands in a file beside the certificates that Go reads, as far as it does harm."""
    found, skipped = blocks(pem)
    foreign = [block.kind for block in found if block.kind != _CERTIFICATE]
    if part == "ca" and foreign:
        seen = "holds a block '%s', and etcd's client reads no file of CAs that has other blocks"
        return [("error", part, seen % foreign[0])]
    if not skipped:
        return []
    seen = (
        "has a BEGIN in line %d that Go passes over: it must be at the start of a line, its END alone"
        % (skipped[0])
    )
    # Of a chain the first one counts; a bundle of CAs may do without one of them.
    return [("error" if part == "cert" and _first_is_skipped(pem, skipped) else "warning", part, seen)]


def _first_is_skipped(pem, skipped):
    before = b"\n".join(pem.split(b"\n")[: skipped[0]])
    return not any(block.kind == _CERTIFICATE for block in blocks(before)[0])


def _kinds_of_key(part, certificates, ed25519):
    """Keys that Go does not know: in the client's own certificate, or in those of the CAs."""
    found = []
    for certificate in certificates if part == "ca" else certificates[:1]:
        try:
            found.append(_unknown_to_go(certificate.public_key(), ed25519))
        except _UNREADABLE as err:
            found.append("cannot be read (%s)" % _short(err))
    # Of CAs one is enough; but a curve that Go does not have keeps it from reading the others, too.
    bad = [said for said in found if said and (all(found) or "curve" in said or "read" in said)]
    return [("error", part, "has a key that " + _ACCEPTED % bad[0])] if bad else []


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
