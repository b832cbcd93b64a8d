"""
What is secret, by its name or by its looks, and how it is shown: the one rule of the whole formula.

Pure: no Salt, no files, no network.
"""

import re

MASK = "********"
# Wherever they stand in a name: names are written in many ways.
_ANYWHERE = re.compile(
    "passw|passphrase|secret|token|private|credential|authorization|basic[_-]?auth|psk", re.IGNORECASE
)
# Words of a name, or the ends of words that were written together (APIKEY).
_WORDS = ("key", "keys", "pwd", "cred", "creds")
_LAST = ("pass", "pw")
# A name that ends so says where a secret lies, or how it is called.
_PLACES = ("file", "files", "path", "paths", "dir", "ref", "name")
_TOGETHER = ("file", "path")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# Settings whose value is the place of a secret, or the secret itself: told apart by its looks.
_BY_LOOKS = (("tls", "key"),)
# Names a secret of Kubernetes, and the key in it.
_REFERENCE = "secretKeyRef"
_IN_URL = re.compile(r"://[^\s\"']*@")
# The same without a scheme; a name of an image may have an @, too, but after a slash.
_BEFORE_HOST = re.compile(r"(?<![\w/.:-])[^\s\"'/@:]+:[^\s\"'/@]+@(?=[^\s\"'])")


def is_secret(name):
    """
    True where the value of this name must not be shown.

    name
        Of a setting, a variable, a field; or a pillar path, of which each part counts (text).
    """
    parts = str(name).split(":")
    if tuple(parts[-2:]) in _BY_LOOKS:
        parts = parts[:-1]
    return any(map(_is_secret, parts))


def _is_secret(name):
    words = [part.lower() for part in _PART.findall(name)]
    if not words or "public" in words or words[-1] in _PLACES or words[-1].endswith(_TOGETHER):
        return False
    return bool(_ANYWHERE.search(name) or words[-1] in _LAST or any(word.endswith(_WORDS) for word in words))


def shown(value, secret=False, certificates=True):
    """
    Whatever it is, as it may be shown to others.

    value
        Data of any shape: settings, an environment (``{name: value}``), a resource, differences, text.
    secret
        Whether it goes by a secret's name (bool).
    certificates
        False also hides certificates: where one is in the wrong place, a key may be as well (bool).

    Returns the same shape: secrets, private keys, and the user and password in a URL are asterisks.
    What is empty, true or false is no secret, and a reference to a secret (``secretKeyRef``) is none.
    """
    return _shown(value, secret, "", certificates)


def leaves(value, secret=False, parent=""):
    """Every value that data of any shape ends in, with whether it is a secret by its name: pairs."""
    if isinstance(value, dict):
        for name, part in value.items():
            hidden, below = _below(name, parent, secret)
            yield from leaves(part, hidden, below)
    elif isinstance(value, (list, tuple, set)):
        for part in value:
            yield from leaves(part, secret, parent)
    else:
        yield value, secret


def _below(name, parent, secret):
    """Whether what goes by this name is secret, and what it is called for what lies in it."""
    if _REFERENCE in (name, parent):
        return False, _REFERENCE
    return secret or (is_secret(name) and (parent, name) not in _BY_LOOKS), name


def _shown(value, secret, parent, certificates):
    if isinstance(value, dict):
        return {
            # A mistake may put anything anywhere.
            text(name, certificates) if isinstance(name, str) else name: _shown(
                part, *_below(name, parent, secret), certificates
            )
            for name, part in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_shown(part, secret, parent, certificates) for part in value]
    if value is None or value == "" or isinstance(value, bool):
        return value
    if secret:
        return MASK
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return text(value, certificates) if isinstance(value, str) else value


def text(value, certificates=True):
    """One text, whatever name it goes by."""
    # In any case: what takes words in any case shows them in one.
    lowered = value.lower()
    if "private key-----" in lowered or (not certificates and "-----begin" in lowered):
        return MASK
    return _BEFORE_HOST.sub(MASK + "@", _IN_URL.sub("://%s@" % MASK, value))
