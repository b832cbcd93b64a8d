"""
Calico's selectors: ``route-reflector == "true" && !has(spare)``.

The language as Calico 3 itself reads it, with its own words for what is wrong. Pure.
"""

import functools
import re

# A selector is written by people; deeper than this is a mistake or an attack.
DEEPEST = 100
_LABEL = re.compile(r"[a-zA-Z0-9_./-]+")
_BLANK = re.compile(r"[ \t]*")
_HAS = re.compile(r"has\([ \t]*")
_CLOSE = re.compile(r"[ \t]*\)")
_CALLS = ((re.compile(r"all\([ \t]*\)"), "All"), (re.compile(r"global\([ \t]*\)"), "Global"))
# Words that are operators where they follow a label, and labels everywhere else.
_WORDS = (
    (re.compile(r"contains(?![a-zA-Z0-9_./-])"), "Contains"),
    (re.compile(r"starts[ \t]*with(?![a-zA-Z0-9_./-])"), "StartsWith"),
    (re.compile(r"ends[ \t]*with(?![a-zA-Z0-9_./-])"), "EndsWith"),
    (re.compile(r"not[ \t]*in(?![a-zA-Z0-9_./-])"), "NotIn"),
    (re.compile(r"in(?![a-zA-Z0-9_./-])"), "In"),
)
_SIGNS = {
    "(": "LParen",
    ")": "RParen",
    "{": "LBrace",
    "}": "RBrace",
    ",": "Comma",
    "==": "Eq",
    "!=": "Ne",
    "&&": "And",
    "||": "Or",
    "!": "Not",
}


class SelectorError(ValueError):
    """
    The text is no selector.

    position
        Where in the text, counted from 0.
    """

    def __init__(self, message, position):
        super().__init__(message)
        self.position = position


class Selector:
    """
    A selector that was read; ``str()`` gives its canonical text.

    matches
        Function of labels ({name: value}): whether they are selected.
    """

    def __init__(self, text, matches):
        self._text = text
        self.matches = matches

    def __str__(self):
        return self._text


def parse(text):
    """The :class:`Selector` that ``text`` is; empty text selects everything."""
    tokens = _tokens(text)
    if tokens[0].kind == "EOF":
        return _everything("all()")
    reader = _Reader(tokens)
    selector = reader.either(0)
    if reader.token.kind != "EOF":
        rest = " ".join(str(token) for token in tokens[reader.at :])
        raise SelectorError(f"unexpected content at end of selector [{rest}]", reader.token.position)
    return selector


class _Token:
    def __init__(self, kind, position, value=""):
        self.kind = kind
        self.position = position
        self.value = value

    def __str__(self):
        return f"Tok{self.kind}({self.value})"


def _tokens(text):
    tokens = []
    at = _BLANK.match(text).end()
    while at < len(text):
        after = tokens[-1] if tokens and tokens[-1].kind == "Label" else None
        token, at = _next_token(text, at, after)
        tokens.append(token)
        at = _BLANK.match(text, at).end()
    tokens.append(_Token("EOF", at))
    return tokens


def _next_token(text, at, after_label):
    sign = text[at : at + 2] if text[at : at + 2] in _SIGNS else text[at]
    if sign in _SIGNS:
        return _Token(_SIGNS[sign], at), at + len(sign)
    if sign in "=&|":
        raise SelectorError(f"expected {sign}{sign}", at)
    if sign in "\"'":
        end = text.find(sign, at + 1)
        if end < 0:
            raise SelectorError("unterminated string", at)
        return _Token("StringLiteral", at, text[at + 1 : end]), end + 1
    if after_label:
        for pattern, kind in _WORDS:
            found = pattern.match(text, at)
            if found:
                return _Token(kind, at), found.end()
        raise SelectorError(f'expected operator after label "{after_label.value}"', at)
    return _word_token(text, at)


def _word_token(text, at):
    found = _HAS.match(text, at)
    if found:
        label = _LABEL.match(text, found.end())
        if not label:
            raise SelectorError("no label name in has( expression", found.end())
        end = _CLOSE.match(text, label.end())
        if not end:
            raise SelectorError("no closing ')' after has(", label.end())
        return _Token("Has", at, label.group()), end.end()
    for pattern, kind in _CALLS:
        found = pattern.match(text, at)
        if found:
            return _Token(kind, at), found.end()
    label = _LABEL.match(text, at)
    if not label:
        raise SelectorError("expected identifier", at)
    return _Token("Label", at, label.group()), label.end()


class _Reader:
    """Walks over the tokens: || of && of negations of single tests."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.at = 0

    @property
    def token(self):
        return self.tokens[self.at]

    def take(self, kind):
        """The next token if it is of this kind, else None."""
        token = self.token
        if token.kind != kind:
            return None
        self.at += 1
        return token

    def either(self, depth):
        parts = [self.both(depth)]
        while self.take("Or"):
            parts.append(self.both(depth))
        return _joined(parts, " || ", _either)

    def both(self, depth):
        parts = [self.single(depth)]
        while self.take("And"):
            parts.append(self.single(depth))
        return _joined(parts, " && ", _both)

    def single(self, depth):
        if depth > DEEPEST:
            raise SelectorError("nested too deeply", self.token.position)
        negated = False
        while self.take("Not"):
            negated = not negated
        selector = self.test(depth)
        if not negated:
            return selector
        matches = selector.matches
        return Selector(f"!{selector}", lambda labels: not matches(labels))

    def test(self, depth):
        token = self.token
        self.at += 1
        if token.kind == "Has":
            label = token.value
            return Selector(f"has({label})", lambda labels: label in labels)
        if token.kind in ("All", "Global"):
            return _everything(f"{token.kind.lower()}()")
        if token.kind == "Label":
            return self.comparison(token.value)
        if token.kind == "LParen":
            inner = self.either(depth + 1)
            if not self.take("RParen"):
                raise SelectorError("expected )", self.token.position)
            return inner
        raise SelectorError(f"unexpected token: {token}", token.position)

    def comparison(self, label):
        operator = self.token
        if operator.kind == "EOF":
            raise SelectorError("unexpected end of string looking for op", operator.position)
        self.at += 1
        if operator.kind in ("In", "NotIn"):
            return _membership(label, operator.kind, self.literals())
        if operator.kind not in _COMPARISONS:
            raise SelectorError(f"expected == or != not: {operator}", operator.position)
        literal = self.take("StringLiteral")
        if not literal:
            raise SelectorError("expected string", self.token.position)
        sign, holds, missing = _COMPARISONS[operator.kind]
        wanted = literal.value
        return Selector(
            f"{label} {sign} {_quoted(wanted)}",
            lambda labels: holds(labels[label], wanted) if label in labels else missing,
        )

    def literals(self):
        if not self.take("LBrace"):
            raise SelectorError("expected set literal", self.token.position)
        found = set()
        while True:
            literal = self.take("StringLiteral")
            if not literal:
                break
            found.add(literal.value)
            if not self.take("Comma"):
                break
        if not self.take("RBrace"):
            raise SelectorError("expected }", self.token.position)
        return found


# kind: (text, test, what holds where the label is missing)
_COMPARISONS = {
    "Eq": ("==", lambda value, wanted: value == wanted, False),
    "Ne": ("!=", lambda value, wanted: value != wanted, True),
    "Contains": ("contains", lambda value, wanted: wanted in value, False),
    "StartsWith": ("starts with", str.startswith, False),
    "EndsWith": ("ends with", str.endswith, False),
}


def _membership(label, kind, wanted):
    inside = kind == "In"
    text = ", ".join(_quoted(value) for value in sorted(wanted))
    return Selector(
        f"{label} {'in' if inside else 'not in'} {{{text}}}",
        lambda labels: (labels[label] in wanted) == inside if label in labels else not inside,
    )


def _joined(parts, sign, pair):
    if len(parts) == 1:
        return parts[0]
    text = "(" + sign.join(str(part) for part in parts) + ")"
    # Tried on every node of a cluster: pairs of plain functions are the quickest.
    return Selector(text, functools.reduce(pair, (part.matches for part in parts)))


def _either(one, other):
    return lambda labels: one(labels) or other(labels)


def _both(one, other):
    return lambda labels: one(labels) and other(labels)


def _everything(text):
    return Selector(text, lambda _labels: True)


def _quoted(value):
    return f"'{value}'" if '"' in value else f'"{value}"'
