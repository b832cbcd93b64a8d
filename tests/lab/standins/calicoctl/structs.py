"""
The structs of Calico's Go programs: read from their description, filled from a document, printed.

A description names a struct and, indented, its fields in Go's order::

    IPPoolSpec
      cidr         CIDR        string always
      natOutgoing  NATOutgoing bool
      ipip         IPIP        *IPIPConfiguration tag=mustBeNil

that is: name in a document, name in Go, type, and words:

``always``     printed even where it is zero (without ``omitempty``)
``omitzero``   an empty struct is not printed
``tag=T``      validated by the rule T
``enum=A,B``   the values that its custom resource definition knows
``match=R``    the pattern of its custom resource definition
``default=J``  what is stored where nothing was given (JSON)

A word may be bound to versions: ``always<3.31``, ``default@3.31="Info"`` (from 3.31). ``since=3.30``
and ``until=3.31`` bind the field itself. Types are Go's: ``*T``, ``[]T``, ``map``, a struct's name, or
a scalar that :mod:`scalars` knows. A pointer tells "not given" from zero; others do not.
"""

import json
import pkgutil
import re
from dataclasses import dataclass

from . import scalars

_WORD = re.compile(r"([a-z]+)(?:([<@])([\d.]+))?(?:=(.*))?")


@dataclass(frozen=True)
class Field:
    json: str
    go: str
    type: str
    pointer: bool
    repeated: bool
    always: bool = False
    omitzero: bool = False
    tag: str = ""
    enum: tuple = ()
    match: str = ""
    default: object = None


class Structs:
    """All structs of one API as one version has them."""

    def __init__(self, text, number=(0, 0)):
        self._number = number
        self._lines = {}
        self._fields = {}
        fields = []
        for line in text.splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            if not line.startswith(" "):
                fields = self._lines[line.strip()] = []
            else:
                fields.append(line)

    def __contains__(self, name):
        return name in self._lines

    def fields(self, name):
        """{name in a document: Field} in Go's order."""
        if name not in self._fields:
            fields = (self._field(line) for line in self._lines[name])
            self._fields[name] = {field.json: field for field in fields if field}
        return self._fields[name]

    def by_go_name(self, struct, name):
        return next((field for field in self.fields(struct).values() if field.go == name), None)

    def _field(self, line):
        name, go, kind, *words = line.split()
        found = {}
        for word in words:
            key, sign, number, value = _WORD.fullmatch(word).groups()
            if key in ("since", "until"):
                if (self._number < _number(value)) == (key == "since"):
                    return None
            elif sign is None or (self._number < _number(number)) == (sign == "<"):
                found[key] = _VALUES.get(key, lambda given: given)(value)
        return Field(name, go, kind.lstrip("*[]"), kind.startswith("*"), "[]" in kind, **found)


def _number(text):
    return tuple(int(part) for part in text.split("."))


_VALUES = {
    "always": lambda _: True,
    "omitzero": lambda _: True,
    "enum": lambda text: tuple(text.split(",")),
    "default": json.loads,
}


def load(generation, number):
    """The structs of a generation: "v1" or "v3"."""
    text = pkgutil.get_data(__package__, f"{generation}.structs").decode()
    return Structs(text, number)


# --- from a document -----------------------------------------------------------------------------


def decode(structs, name, document, words, path=""):
    """The values that a document gives a struct, checked; what is not said stays out."""
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise words.wrong_type(document, name, path, name)
    fields = structs.fields(name)
    for key in document:
        if key not in fields:
            raise words.unknown_field(key)
    return {
        key: _value(structs, field, document[key], words, name, f"{path}.{key}".lstrip("."))
        for key, field in fields.items()
        if document.get(key) is not None
    }


def _value(structs, field, value, words, struct, path):
    if field.repeated:
        if not isinstance(value, list):
            raise words.wrong_type(value, struct, path, f"[]{field.type}")
        return [_single(structs, field, item, words, struct, path) for item in value]
    return _single(structs, field, value, words, struct, path)


def _single(structs, field, value, words, struct, path):
    if field.type in structs:
        return decode(structs, field.type, value, words, path)
    if field.type == "map":
        if not isinstance(value, dict):
            raise words.wrong_type(value, struct, path, "map[string]string")
        return {str(key): scalars.text(item) for key, item in value.items()}
    return scalars.read(field.type, value, words, struct, path)


# --- to a document -------------------------------------------------------------------------------


def encode(structs, name, values):
    """The values of a struct as Go prints them: in its order, without what is zero."""
    found = {}
    for key, field in structs.fields(name).items():
        if key in values:
            value = _printed(structs, field, values[key])
            if field.pointer or field.always or not _zero(structs, field, value):
                found[key] = value
        elif field.always or (_is_struct(structs, field) and not field.omitzero):
            found[key] = _nothing(structs, field)
    return found


def _is_struct(structs, field):
    return field.type in structs and not field.pointer and not field.repeated


def _printed(structs, field, value):
    if field.type in structs:
        if field.repeated:
            return [encode(structs, field.type, item) for item in value]
        return encode(structs, field.type, value)
    return value


def _zero(structs, field, value):
    if _is_struct(structs, field):
        return field.omitzero and not value
    return value in (False, 0, "", None) or value == [] or value == {}


def _nothing(structs, field):
    if field.repeated or field.pointer or field.type == "time":
        return None
    if field.type in structs:
        return encode(structs, field.type, {})
    return scalars.zero(field.type)


def add_defaults(structs, name, values):
    """Fill in what is stored where nothing was given, everywhere below."""
    for key, field in structs.fields(name).items():
        if field.type in structs and values.get(key):
            for item in values[key] if field.repeated else [values[key]]:
                add_defaults(structs, field.type, item)
        elif field.default is not None and values.get(key) in (None, "", []):
            values[key] = field.default
    return values
