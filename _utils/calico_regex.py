"""
Regular expressions as Go reads them: is one right, and what does it match?

calico/node and Felix are written in Go, whose expressions know no lookahead, no references back and no
possessive repetitions, but classes such as [[:alpha:]]. Each is turned into one that Python reads in the same
way. Source: the syntax of Go's package regexp/syntax. Pure: no Salt, no side effects.
"""

import functools
import re


class RegexError(ValueError):
    """An expression that Go does not accept; the text says why."""


# What a class contains, inside [ ]; Go takes them all for ASCII.
_PERL = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t-\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_CONTROLS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
# How often something may be repeated, the repetitions around it counted in.
_MOST = 1000
# What :func:`_match` looks for; compiled when first used, as most runs have no expression to read.
_REPEAT = r"\{([0-9]{1,9})(?:(,)([0-9]{1,9})?)?\}"
_FLAGS = r"\(\?([imsU]*)(?:-([imsU]+))?([:)])"
_NAMED = r"\(\?P<([^>]*)>"
_UNICODE = r"\\[pP](?:[A-Z]|\{\^?[A-Za-z_]+\})"
_HEX = r"\\x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,8})\})"
_OCTAL = r"\\(0[0-7]{0,2}|[1-7][0-7]{1,2})"
_PIECE_OF_CLASS = r"\[:(\^?)([a-z]*):\]"


def problem(pattern):
    """Why Go would not accept a pattern (text), or None where it would."""
    try:
        _parsed(pattern)
    except RegexError as err:
        return str(err)
    return None


@functools.lru_cache(maxsize=64)
def compiled(pattern):
    """
    The pattern for :mod:`re`, or None where it cannot be told what it matches (``\\pL``).

    Raises :class:`RegexError` for what Go does not accept.
    """
    text = _parsed(pattern)
    try:
        return None if text is None else re.compile(text)
    except (OverflowError, RecursionError, re.error):
        return None


def _parsed(pattern):
    return _Parser(pattern).parse()


def _match(pattern, parser):
    """The match of a pattern where the parser has come to."""
    return re.compile(pattern).match(parser.text, parser.at)


class _Group:
    """An open parenthesis: what it holds so far, and the flags that hold after it is closed."""

    def __init__(self, flags, opens="("):
        self.flags = flags
        self.opens = opens
        self.out = []
        # How often its contents may come at most, and that of the last piece, None where there is none.
        self.weight = 1
        self.last = None


class _Parser:
    def __init__(self, pattern):
        self.text = pattern
        self.at = 0
        self.flags = frozenset()
        self.groups = [_Group(self.flags)]
        self.names = set()
        self.told = True
        self.repeated = False

    def parse(self):
        """The expression for Python, or None where Python has none that is the same."""
        while self.at < len(self.text):
            before, self.repeated = self.repeated, False
            self._next(before)
        if len(self.groups) > 1:
            raise RegexError("a ( without its )")
        return "".join(self.groups[0].out) if self.told else None

    def _next(self, after_repetition):
        char = self.text[self.at]
        if char == "(":
            self._open()
        elif char == ")":
            self._close()
        elif char == "|":
            self.at += 1
            self.groups[-1].out.append("|")
            self.groups[-1].last = None
        elif char in "*+?":
            self.at += 1
            self._repeat(char, after_repetition, 1)
        elif char == "{" and _match(_REPEAT, self):
            self._repeat_counted(after_repetition)
        elif char == "[":
            self._add(self._folding(self._class()))
        elif char == ".":
            self.at += 1
            self._add(r"[\s\S]" if "s" in self.flags else r"[^\n]")
        elif char in "^$":
            self.at += 1
            lines, whole = {"^": ("(?m:^)", r"\A"), "$": ("(?m:$)", r"\Z")}[char]
            self._add("(?:%s)" % (lines if "m" in self.flags else whole))
        elif char == "\\":
            self._escape()
        else:
            self.at += 1
            self._add(self._folding(re.escape(char)))

    def _add(self, piece, weight=1):
        group = self.groups[-1]
        group.out.append(piece)
        group.last = weight
        group.weight = max(group.weight, weight)

    def _folding(self, piece):
        return "(?i:%s)" % piece if "i" in self.flags else piece

    # Groups -----------------------------------------------------------------------------------

    def _open(self):
        if not self.text.startswith("(?", self.at):
            self.at += 1
            self.groups.append(_Group(self.flags))
            return
        named, flags = _match(_NAMED, self), _match(_FLAGS, self)
        if named:
            name = named.group(1)
            if not re.fullmatch("[0-9A-Za-z_]+", name) or name in self.names:
                raise RegexError("the group %s" % named.group())
            self.names.add(name)
            self.at = named.end()
            self.groups.append(_Group(self.flags))
        elif flags and (flags.group(1) or flags.group(2) or flags.group(3) == ":"):
            before = self.flags
            self.flags = (before | set(flags.group(1))) - set(flags.group(2) or "")
            self.at = flags.end()
            if flags.group(3) == ":":
                self.groups.append(_Group(before))
        else:
            raise RegexError("Go has no %s…" % re.match(r"\(\?(?:<[=!]|P?.)?", self.text[self.at :]).group())

    def _close(self):
        self.at += 1
        if len(self.groups) == 1:
            raise RegexError("a ) without its (")
        group = self.groups.pop()
        self.flags = group.flags
        self._add("(?:%s)" % "".join(group.out), group.weight)

    # Repetitions ------------------------------------------------------------------------------

    def _repeat(self, words, after_repetition, most):
        group = self.groups[-1]
        lazy = self.text.startswith("?", self.at)
        self.at += lazy
        if after_repetition:
            raise RegexError("Go repeats no repetition (%s)" % words)
        if group.last is None:
            raise RegexError("nothing to repeat before %s" % words)
        weight = group.last * max(most, 1)
        if weight > _MOST:
            raise RegexError("more than %d repetitions" % _MOST)
        # As one piece: between this one and a repetition of it there may be flags.
        words += "?" if lazy != ("U" in self.flags) else ""
        group.out[-1] = "(?:%s%s)" % (group.out[-1], words)
        group.weight, group.last = max(group.weight, weight), weight
        self.repeated = True

    def _repeat_counted(self, after_repetition):
        found = _match(_REPEAT, self)
        low = int(found.group(1))
        high = int(found.group(3)) if found.group(3) else low
        if high < low:
            raise RegexError("the repetition %s" % found.group())
        self.at = found.end()
        self._repeat(found.group(), after_repetition, high)

    # Escapes ----------------------------------------------------------------------------------

    def _escape(self):
        following = self.text[self.at + 1 : self.at + 2]
        if following == "Q":
            end = self.text.find(r"\E", self.at)
            literal = self.text[self.at + 2 : len(self.text) if end < 0 else end]
            self.at = len(self.text) if end < 0 else end + 2
            for char in literal:
                self._add(self._folding(re.escape(char)))
        elif following in ("A", "z", "b", "B"):
            self.at += 2
            self._add({"A": r"(?:\A)", "z": r"(?:\Z)", "b": r"(?a:\b)", "B": r"(?a:\B)"}[following])
        else:
            inside = self._inside_class()
            self._add(self._folding("[%s]" % inside if inside else "(?!)"))

    def _inside_class(self):
        """What an escape stands for, as it is written inside [ ]."""
        following = self.text[self.at + 1 : self.at + 2]
        if following.lower() in _PERL:
            self.at += 2
            return _PERL[following] if following in _PERL else _complement(_PERL[following.lower()])
        found = _match(_UNICODE, self)
        if found:
            self.at = found.end()
            self.told = False
            return "a"
        return _written(self._character())

    def _character(self):
        """The character that an escape or a plain one stands for; the place moves behind it."""
        char = self.text[self.at]
        if char != "\\":
            self.at += 1
            return char
        following = self.text[self.at + 1 : self.at + 2]
        found = _match(_HEX, self)
        octal = _match(_OCTAL, self)
        if found:
            number = int(found.group(1) or found.group(2), 16)
        elif octal:
            found, number = octal, int(octal.group(1), 8)
        else:
            self.at += 2
            if following in _CONTROLS:
                return _CONTROLS[following]
            # Of letters and digits each has a meaning, or none.
            if following and following.isascii() and not following.isalnum():
                return following
            raise RegexError("Go has no \\%s" % following if following else "a \\ at the end")
        if number > 0x10FFFF:
            raise RegexError("no character has %s" % found.group())
        self.at = found.end()
        return chr(number)

    # Classes ----------------------------------------------------------------------------------

    def _class(self):
        start = self.at
        self.at += 1
        negated = self.text.startswith("^", self.at)
        self.at += negated
        pieces, first = [], True
        while first or not self.text.startswith("]", self.at):
            if self.at >= len(self.text):
                raise RegexError("a [ without its ] (%s)" % self.text[start:])
            first = False
            pieces.append(self._piece_of_class())
        self.at += 1
        return "[%s%s]" % ("^" if negated else "", "".join(pieces))

    def _piece_of_class(self):
        posix = _match(_PIECE_OF_CLASS, self)
        if posix:
            if posix.group(2) not in _POSIX:
                raise RegexError("the class %s" % posix.group())
            self.at = posix.end()
            inside = _POSIX[posix.group(2)]
            return _complement(inside) if posix.group(1) else inside
        if self.text.startswith("\\", self.at) and self.text[self.at + 1 : self.at + 2] in tuple("dDwWsSpP"):
            before = self.at
            inside = self._inside_class()
            if self.at > before:
                return inside
        start = self.at
        low = self._character()
        if not self.text.startswith("-", self.at) or self.text[self.at + 1 : self.at + 2] in ("]", ""):
            return _written(low)
        self.at += 1
        high = self._character()
        if high < low:
            raise RegexError("the range %s" % self.text[start : self.at])
        return "%s-%s" % (_written(low), _written(high))


def _written(char):
    """A character as it is written inside [ ]."""
    return "\\U%08x" % ord(char)


@functools.cache
def _complement(inside):
    """All that a class does not contain, as it is written inside [ ]."""
    # All classes with a name are of ASCII.
    contains = re.compile("[%s]" % inside)
    outside = [char for char in map(chr, range(128)) if not contains.match(char)]
    return "".join(map(_written, outside)) + "\\U00000080-\\U0010ffff"
