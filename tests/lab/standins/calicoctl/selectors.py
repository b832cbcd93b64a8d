"""Selectors of Calico 3: whether a text is one, and which labels it matches."""

import re

_TOKEN = re.compile(
    r"""[ \t]*(?:(?P<string>"[^"]*"|'[^']*')|(?P<call>(?:all|global)\([ \t]*\))
    |has\([ \t]*(?P<has>[A-Za-z0-9_./-]+)[ \t]*\)|(?P<sign>==|!=|&&|\|\||[!(){},])
    |(?P<word>[A-Za-z0-9_./-]+))""",
    re.VERBOSE,
)


class NoSelector(ValueError):
    """The text is no selector."""


def is_selector(text):
    try:
        parsed(text)
    except NoSelector:
        return False
    return True


def parsed(text):
    """A function that tells whether a dictionary of labels matches; raises NoSelector."""
    tokens = _tokens(text)
    if not tokens:
        return _everything
    try:
        found = _either(tokens)
    except IndexError:
        raise NoSelector(text) from None
    if tokens:
        raise NoSelector(text)
    return found


def _everything(_labels):
    return True


def _tokens(text):
    found, at = [], 0
    text = text.rstrip(" \t")
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise NoSelector(text)
        found.append((match.lastgroup, match.group(match.lastgroup)))
        at = match.end()
    return found


def _take(tokens, *texts):
    if not tokens or tokens[0][1] not in texts:
        raise NoSelector(texts)
    tokens.pop(0)


def _either(tokens):
    found = [_both(tokens)]
    while tokens and tokens[0] == ("sign", "||"):
        tokens.pop(0)
        found.append(_both(tokens))
    return lambda labels: any(one(labels) for one in found)


def _both(tokens):
    found = [_one(tokens)]
    while tokens and tokens[0] == ("sign", "&&"):
        tokens.pop(0)
        found.append(_one(tokens))
    return lambda labels: all(one(labels) for one in found)


def _one(tokens):
    kind, text = tokens.pop(0)
    if text == "!" and kind == "sign":
        inner = _one(tokens)
        return lambda labels: not inner(labels)
    if text == "(" and kind == "sign":
        inner = _either(tokens)
        _take(tokens, ")")
        return inner
    if kind == "word":
        return _comparison(text, tokens)
    if kind == "has":
        return lambda labels: text in labels
    if kind == "call":
        return _everything
    raise NoSelector(text)


def _comparison(label, tokens):
    kind, text = tokens.pop(0)
    if kind == "sign" and text in ("==", "!="):
        wanted = _string(tokens)
        if text == "==":
            return lambda labels: labels.get(label) == wanted
        return lambda labels: labels.get(label) != wanted
    if text in ("in", "notin", "not"):
        if text == "not":
            _take(tokens, "in")
        among = _set(tokens)
        if text == "in":
            return lambda labels: labels.get(label) in among
        return lambda labels: labels.get(label) not in among
    if text == "contains":
        part = _string(tokens)
        return lambda labels: label in labels and part in labels[label]
    if text in ("starts", "ends"):
        _take(tokens, "with")
        part = _string(tokens)
        test = str.startswith if text == "starts" else str.endswith
        return lambda labels: label in labels and test(labels[label], part)
    raise NoSelector(text)


def _string(tokens):
    kind, text = tokens.pop(0)
    if kind != "string":
        raise NoSelector(text)
    return text[1:-1]


def _set(tokens):
    found = set()
    _take(tokens, "{")
    while tokens[0][0] == "string":
        found.add(_string(tokens))
        if tokens[0][1] != ",":
            break
        tokens.pop(0)
    _take(tokens, "}")
    return found
