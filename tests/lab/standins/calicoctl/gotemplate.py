"""
Go's text/template, as far as tables and ``-o go-template`` need it.

Values are what Go would have: :class:`Struct`, :class:`Pointer`, lists, dicts, texts, numbers, booleans.
"""

import json
import re

_TOKEN = re.compile(
    r"""\s*(?:(?P<field>\.[A-Za-z_]\w*)|(?P<variable>\$\w*)|(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)
    |(?P<number>-?\d+(?:\.\d+)?)|(?P<word>[A-Za-z_]\w*)|(?P<sign>:=|[.()|,=]))""",
    re.VERBOSE,
)


class TemplateError(Exception):
    """In the words of Go's library."""


class Pointer:
    """A pointer to a value, or to nothing."""

    def __init__(self, value=None, is_nil=False):
        self.value = value
        self.is_nil = is_nil


class Struct:
    """A struct: the name of its Go type, and its fields by their Go names."""

    def __init__(self, type_name, fields):
        self.type_name = type_name
        self.fields = fields


def from_structs(structs, package, name, values):
    """The values of a described struct as Go has them."""
    fields = {
        field.go: _from_field(structs, package, field, values.get(key))
        for key, field in structs.fields(name).items()
    }
    return Struct(f"{package}.{name}", fields)


def _from_field(structs, package, field, value):
    if value is None and field.pointer:
        return Pointer(is_nil=True)
    if field.repeated:
        found = [_from_item(structs, package, field, item) for item in value or []]
    elif field.type == "map":
        found = value or {}
    elif value is None and field.type not in structs:
        from . import scalars

        found = scalars.zero(field.type)
    else:
        found = _from_item(structs, package, field, value or {} if field.type in structs else value)
    return Pointer(found) if field.pointer else found


def _from_item(structs, package, field, value):
    return from_structs(structs, package, field.type, value) if field.type in structs else value


def render(text, data, functions=None, name="get"):
    return _Template(text, name, {**_FUNCTIONS, **(functions or {})}).execute(data)


class _Template:
    def __init__(self, text, name, functions):
        self._text = text
        self._name = name
        self._functions = functions
        self._parts = list(re.finditer(r"\{\{(-\s)?(.*?)(\s-)?\}\}", text, re.DOTALL))
        self._at = 0  # the next action
        self._end = 0  # of the last action
        self._nodes, closed_by = self._block()
        if closed_by:
            raise TemplateError(f"template: {name}:1: unexpected {{{{{closed_by}}}}}")

    def execute(self, data):
        self._variables = {"$": data}
        out = []
        self._run(self._nodes, data, out)
        return "".join(out)

    # --- parsing ---

    def _block(self):
        """Nodes up to the action that closes the block, and its word."""
        nodes = []
        while self._at < len(self._parts):
            part = self._parts[self._at]
            self._at += 1
            before = self._text[self._end : part.start()]
            nodes.append(("text", self._trimmed(before, part)))
            self._end = part.end()
            action = part.group(2).strip()
            start = part.start(2) + len(part.group(2)) - len(part.group(2).lstrip())
            word, _, rest = action.partition(" ")
            if action.startswith("/*"):
                continue
            if word in ("end", "else"):
                return nodes, action
            if word in ("if", "range", "with"):
                nodes.append(self._branch(word, rest, start + len(word) + 1))
            else:
                nodes.append(("print", self._pipeline(action, start)))
        nodes.append(("text", self._trimmed(self._text[self._end :], None)))
        self._end = len(self._text)
        return nodes, ""

    def _trimmed(self, text, following):
        previous = next((part for part in self._parts if part.end() == self._end), None)
        if previous is not None and previous.group(3):
            text = text.lstrip()
        return text.rstrip() if following is not None and following.group(1) else text

    def _branch(self, word, pipeline, start):
        condition = self._pipeline(pipeline, start)
        nodes, closed_by = self._block()
        otherwise = []
        if closed_by == "else":
            otherwise, closed_by = self._block()
        elif closed_by.startswith("else "):
            inner, _, rest = closed_by[5:].partition(" ")
            otherwise = [self._branch(inner, rest, start)]
            return (word, condition, nodes, otherwise)
        if closed_by != "end":
            raise TemplateError(f"template: {self._name}:1: unexpected EOF")
        return (word, condition, nodes, otherwise)

    def _pipeline(self, text, start):
        """(variables to set, [command, …]) where a command is a list of operands."""
        tokens = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if not match:
                raise TemplateError(f"template: {self._name}:1: unexpected {text[at]!r} in operand")
            kind = match.lastgroup
            tokens.append((kind, match.group(kind), start + match.start(kind)))
            at = match.end()
        names = []
        if any(token[1] == ":=" for token in tokens):
            cut = next(number for number, token in enumerate(tokens) if token[1] == ":=")
            names = [token[1] for token in tokens[:cut] if token[0] == "variable"]
            tokens = tokens[cut + 1 :]
        commands, rest = self._commands(tokens)
        if rest:
            raise TemplateError(f"template: {self._name}:1: unexpected right paren")
        return names, commands

    def _commands(self, tokens):
        commands = [[]]
        while tokens:
            kind, text, position = tokens[0]
            if text == ")" and kind == "sign":
                break
            tokens = tokens[1:]
            if kind == "sign" and text == "|":
                commands.append([])
            elif kind == "sign" and text == "(":
                inner, tokens = self._commands(tokens)
                tokens = tokens[1:]
                commands[-1].append(("pipeline", inner, [], position))
            elif kind == "field" and commands[-1] and self._adjoins(commands[-1][-1], position):
                commands[-1][-1][2].append((text[1:], position))
            elif kind == "field":
                commands[-1].append(("dot", None, [(text[1:], position)], position))
            elif kind == "sign":
                commands[-1].append(("dot", None, [], position))
            else:
                commands[-1].append((kind, text, [], position))
        return commands, tokens

    @staticmethod
    def _adjoins(operand, position):
        kind, text, chain, start = operand
        if chain:
            return chain[-1][1] + len(chain[-1][0]) + 1 == position
        if kind == "pipeline":
            return True
        return kind == "variable" and start + len(text) == position

    # --- running ---

    def _run(self, nodes, dot, out):
        for node in nodes:
            if node[0] == "text":
                out.append(node[1])
            elif node[0] == "print":
                value = self._value(node[1], dot)
                if not node[1][0]:
                    out.append(printed(value))
            else:
                getattr(self, f"_{node[0]}")(node[1], node[2], node[3], dot, out)

    def _if(self, condition, nodes, otherwise, dot, out):
        self._run(nodes if _true(self._value(condition, dot)) else otherwise, dot, out)

    def _with(self, condition, nodes, otherwise, dot, out):
        value = self._value(condition, dot)
        if _true(value):
            self._run(nodes, value, out)
        else:
            self._run(otherwise, dot, out)

    def _range(self, condition, nodes, otherwise, dot, out):
        names, _commands = condition
        found = _pointed(self._value(condition, dot))
        pairs = sorted(found.items()) if isinstance(found, dict) else list(enumerate(found or []))
        for key, item in pairs:
            if names:
                self._variables.update(zip(names, (key, item) if len(names) > 1 else (item,), strict=True))
            self._run(nodes, item, out)
        if not pairs:
            self._run(otherwise, dot, out)

    def _value(self, pipeline, dot):
        names, commands = pipeline
        value = self._chain_of_commands(commands, dot)
        if len(names) == 1:
            self._variables[names[0]] = value
        return value

    def _chain_of_commands(self, commands, dot):
        value = None
        for number, command in enumerate(commands):
            value = self._command(command, dot, [value] if number else [])
        return value

    def _command(self, command, dot, last):
        if not command:
            raise TemplateError(f"template: {self._name}:1: missing value for command")
        kind, text, _chain, _position = command[0]
        if kind == "word" and text not in ("true", "false", "nil"):
            if text not in self._functions:
                raise TemplateError(f'template: {self._name}:1: function "{text}" not defined')
            arguments = [self._operand(operand, dot) for operand in command[1:]]
            return self._functions[text](*arguments, *last)
        return self._operand(command[0], dot)

    def _operand(self, operand, dot):
        kind, text, chain, _position = operand
        if kind == "dot":
            value = dot
        elif kind == "variable":
            value = self._variables.get(text)
        elif kind == "string":
            value = text[1:-1] if text[0] == "`" else json.loads(text)
        elif kind == "number":
            value = float(text) if "." in text else int(text)
        elif kind == "pipeline":
            value = self._chain_of_commands(text, dot)
        elif text in ("true", "false", "nil"):
            value = {"true": True, "false": False}.get(text)
        else:
            value = self._functions[text]()
        for name, _at in chain:
            value = self._field(value, name, operand)
        return value

    def _field(self, value, name, operand):
        target = _pointed(value)
        if isinstance(target, Struct) and name in target.fields:
            return target.fields[name]
        if isinstance(target, dict):
            return target.get(name)
        kind, text, chain, position = operand
        written = ("" if kind == "dot" else str(text)) + "".join(f".{part}" for part, _at in chain)
        at = chain[1][1] if len(chain) > 1 else position
        line = self._text.count("\n", 0, at) + 1
        column = at - (self._text.rfind("\n", 0, at) + 1)
        where = f'template: {self._name}:{line}:{column}: executing "{self._name}" at <{written}>'
        if isinstance(value, Pointer) and value.is_nil:
            raise TemplateError(f"{where}: nil pointer evaluating {name}")
        raise TemplateError(f"{where}: can't evaluate field {name} in type {_type(value)}")


def _pointed(value):
    while isinstance(value, Pointer):
        value = value.value
    return value


def _true(value):
    if isinstance(value, Pointer):
        return not value.is_nil
    return True if isinstance(value, Struct) else bool(value)


def _type(value):
    if isinstance(value, Pointer):
        return f"*{_type(value.value)}"
    if isinstance(value, Struct):
        return value.type_name
    if isinstance(value, list):
        return f"[]{_type(value[0]) if value else 'interface {}'}"
    return {bool: "bool", int: "int", float: "float64", dict: "map[string]string"}.get(type(value), "string")


def printed(value):
    """A value as Go prints it."""
    if isinstance(value, Pointer):
        return "<nil>" if value.is_nil else printed(value.value)
    if isinstance(value, Struct):
        return "{" + " ".join(printed(item) for item in value.fields.values()) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e21 else repr(value)
    if isinstance(value, list):
        return "[" + " ".join(map(printed, value)) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{printed(item)}" for key, item in sorted(value.items())) + "]"
    return "<no value>" if value is None else str(value)


def _index(value, *keys):
    for key in keys:
        found = _pointed(value)
        value = found.get(key, "") if isinstance(found, dict) else found[key]
    return value


def _compare(test):
    return lambda left, right: test(_pointed(left), _pointed(right))


_FUNCTIONS = {
    "and": lambda *values: next((value for value in values if not _true(value)), values[-1]),
    "or": lambda *values: next((value for value in values if _true(value)), values[-1]),
    "not": lambda value: not _true(value),
    "len": lambda value: len(_pointed(value)),
    "index": _index,
    "print": lambda *values: "".join(map(printed, values)),
    "println": lambda *values: " ".join(map(printed, values)) + "\n",
    "printf": lambda form, *values: re.sub("%[vsdq]", "%s", form) % tuple(map(printed, values)),
    "eq": lambda left, *rights: any(_pointed(left) == _pointed(right) for right in rights),
    "ne": _compare(lambda left, right: left != right),
    "lt": _compare(lambda left, right: left < right),
    "le": _compare(lambda left, right: left <= right),
    "gt": _compare(lambda left, right: left > right),
    "ge": _compare(lambda left, right: left >= right),
    "join": lambda values, separator: separator.join(map(printed, _pointed(values) or [])),
}
