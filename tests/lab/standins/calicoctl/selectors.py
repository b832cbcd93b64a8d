"""Whether a text is a selector of Calico 3."""

import re

_TOKEN = re.compile(
    r"""[ \t]*(?:(?P<string>"[^"]*"|'[^']*')|(?P<call>(?:all|global)\([ \t]*\))
    |(?P<has>has\([ \t]*[A-Za-z0-9_./-]+[ \t]*\))|(?P<sign>==|!=|&&|\|\||[!(){},])
    |(?P<word>[A-Za-z0-9_./-]+))""",
    re.VERBOSE,
)


class _NoSelector(Exception):
    pass


def is_selector(text):
    try:
        tokens = _tokens(text)
        if tokens:
            _either(tokens)
    except (_NoSelector, IndexError):
        return False
    return not tokens


def _tokens(text):
    found, at = [], 0
    text = text.rstrip(" \t")
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise _NoSelector
        found.append((match.lastgroup, match.group(match.lastgroup)))
        at = match.end()
    return found


def _take(tokens, *texts):
    if not tokens or tokens[0][1] not in texts:
        raise _NoSelector
    tokens.pop(0)


def _either(tokens):
    _both(tokens)
    while tokens and tokens[0] == ("sign", "||"):
        tokens.pop(0)
        _both(tokens)


def _both(tokens):
    _one(tokens)
    while tokens and tokens[0] == ("sign", "&&"):
        tokens.pop(0)
        _one(tokens)


def _one(tokens):
    kind, text = tokens.pop(0)
    if text == "!" and kind == "sign":
        _one(tokens)
    elif text == "(" and kind == "sign":
        _either(tokens)
        _take(tokens, ")")
    elif kind == "word":
        _comparison(tokens)
    elif kind not in ("call", "has"):
        raise _NoSelector


def _comparison(tokens):
    kind, text = tokens.pop(0)
    if kind == "sign" and text in ("==", "!="):
        _string(tokens)
    elif text in ("in", "notin"):
        _set(tokens)
    elif text == "not":
        _take(tokens, "in")
        _set(tokens)
    elif text == "contains":
        _string(tokens)
    elif text in ("starts", "ends"):
        _take(tokens, "with")
        _string(tokens)
    else:
        raise _NoSelector


def _string(tokens):
    if tokens.pop(0)[0] != "string":
        raise _NoSelector


def _set(tokens):
    _take(tokens, "{")
    while tokens[0][0] == "string":
        tokens.pop(0)
        if tokens[0][1] != ",":
            break
        tokens.pop(0)
    _take(tokens, "}")
