"""
Text that may be shown to others: keys, passwords and tokens are taken out, wherever they stand.

Masking by name (:func:`calico_secrets.is_secret`) comes first, where data has names; this is for text
of any origin: logs, files, other programs' output. Rather a word too much is masked than one too few.

Pure: no Salt, no files, no network.
"""

import base64
import json
import re
import urllib.parse

from calico_secrets import MASK, is_secret, leaves

# A shorter secret is only masked where it stands alone: else it would be found inside of other words.
SHORTEST = 6
# What a switch may be set to is no secret, whatever its name.
_NO_SECRETS = {"", "true", "false", "yes", "no", "on", "off", "none", "null", "0", "1", MASK}

_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# The end of a key whose begin was cut off.
_KEY_END = re.compile(r"\A.*?-----END [A-Z0-9 ]*PRIVATE KEY-----", re.DOTALL)
# base64 of "-----BEGIN …", as kubeconfigs have it.
_ENCODED = re.compile(r"LS0tLS1CRUdJT[A-Za-z0-9+/=_-]+")
# What is called secret, and its value: NAME=value, "name": "value", name: value, --name value.
_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "private",
    "credential",
    "authorization",
    "psk",
)
# A key alone may be the one of a mapping.
_KEYS = (
    r"(?:api|access|auth|shared|encryption|signing|ssh|etcd|client|server)[_-]?key"
    r"|(?<=[a-z0-9])_(?:key|pass|pwd)"
)
_NAME = r"(?P<name>(?:%s|%s)[A-Za-z0-9_.-]{0,64})" % ("|".join(_WORDS), _KEYS)
_HINTS = (*_WORDS, "key", "_pass", "_pwd")
# Each pattern looks at a letter only so many times: texts are megabytes long, and of any kind.
_VALUE = (
    r"(?P<value>"
    r"\"(?:[^\"\\\n]|\\.){0,256}\"|'(?:[^'\\\n]|\\.){0,256}'"
    # In a text within a text the quotes are escaped, and so is what was escaped.
    r"|\\\"(?:[^\"\\\n]|\\\\(?:\\\\|\\\"|[^\"\\\n])){0,256}\\\""
    r"|\\{1,3}\"[^\"\\\n]{0,256}\\{1,3}\"|[\"']?[^\s,;&\"'{}\[\]\\]+)"
)
_NAMED = re.compile(_NAME + r"(?P<between>\\{0,3}[\"']?\s{0,3}(?:[:=]|=>)\s{0,3})" + _VALUE, re.IGNORECASE)
_OPTION = re.compile(r"(?<=-)" + _NAME + r"(?P<between>[ \t]{1,3}(?!-))" + _VALUE, re.IGNORECASE)
_QUOTE = re.compile(r"\\*[\"']?")
_BEARER = re.compile(r"\b(?P<scheme>bearer|basic)[ \t]+[A-Za-z0-9+/=._~-]{6,}", re.IGNORECASE)
_WEB_TOKEN = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")
_PASSWORD_IN_URL = re.compile(r"://[^\s/@:\"']{0,256}:([^\s\"']{1,256})@")
_IN_URL = re.compile(r"://[^\s/@:\"']{0,256}:[^\s@\"']{1,256}@")


def secrets(*sources):
    """
    The secrets in data of any shape: values under a secret's name, and the lines of private keys.

    sources
        Dicts, lists and text, as a pillar or an environment has them (``{name: value}``).

    Returns a set of text.
    """
    found = set()

    for value, secret in leaves(sources):
        if value is None or isinstance(value, bool):
            continue
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for key in _KEY.findall(text):
            # Each line by itself: a log shows them one by one.
            found.update(line.strip() for line in re.split(r"\\n|\n", key)[1:] if _is_key_line(line))
        found.update(_PASSWORD_IN_URL.findall(text))
        if secret and text.strip().lower() not in _NO_SECRETS:
            found.add(text.strip())
    return found


def _is_key_line(line):
    return bool(re.fullmatch(r"\s*[A-Za-z0-9+/=]{8,}\s*", line))


class Scrubber:
    """Takes the secrets that are known, and what looks like one, out of any text."""

    def __init__(self, known=()):
        words = sorted({form for secret in known for form in _forms(secret)}, key=len, reverse=True)
        self._long = [word for word in words if len(word) >= SHORTEST]
        short = "|".join(re.escape(word) for word in words if len(word) < SHORTEST)
        self._short = re.compile(r"(?<!\w)(?:%s)(?!\w)" % short) if short else None

    def __call__(self, text):
        # One after the other: a pattern of hundreds of words would be far slower.
        for word in self._long:
            text = text.replace(word, MASK)
        if self._short:
            text = self._short.sub(MASK, text)
        if "PRIVATE KEY-----" in text:
            text = _KEY.sub(MASK, text)
            text = _KEY_END.sub(MASK, text)
        text = _ENCODED.sub(MASK, text)
        text = _IN_URL.sub("://%s@" % MASK, text)
        text = _BEARER.sub(r"\g<scheme> %s" % MASK, text)
        text = _WEB_TOKEN.sub(MASK, text)
        lowered = text.lower()
        if any(word in lowered for word in _HINTS):
            text = _OPTION.sub(_masked, _NAMED.sub(_masked, text))
        return text


def _masked(found):
    # A name that ends in FILE has a path.
    if not is_secret(found["name"]):
        return found[0]
    value = found["value"]
    if value.strip("\\\"'").lower() in _NO_SECRETS:
        return found[0]
    given = _QUOTE.match(value)[0]
    # What was data is data afterwards: a number in JSON becomes text.
    quote = given or _QUOTE.match(found["between"])[0]
    return found[0][: -len(value)] + quote + MASK + (quote if value.endswith(given) else "")


def _forms(secret):
    """A secret as it may be written: as it is, in JSON, as Python shows it, in a URL, in base64."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield urllib.parse.quote(secret, safe="")
    yield urllib.parse.quote(secret)
    yield urllib.parse.quote_plus(secret)
    yield base64.b64encode(secret.encode("utf-8")).decode("ascii")
