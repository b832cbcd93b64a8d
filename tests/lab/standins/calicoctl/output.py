"""How resources are printed: tables, YAML, JSON, templates."""

import json
import re

from .errors import CtlError


def table(rows):
    """Columns as wide as their longest cell and three blanks; an empty line closes it."""
    widths = [max(map(len, column)) + 3 for column in zip(*rows, strict=True)]
    lines = ("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(lines) + "\n\n"


def render(output, kind, resources, inherited):
    """The text for ``-o OUTPUT``."""
    form, _, argument = (output or "ps").partition("=")
    if form == "json":
        return json.dumps(resources, indent=2, ensure_ascii=False) + "\n"
    if form == "yaml":
        return _yaml(resources)
    if form in ("ps", "wide"):
        return _columns(kind, kind.columns[form], resources, inherited)
    if form == "custom-columns":
        return _columns(kind, [name.upper() for name in argument.split(",")], resources, inherited)
    if form == "go-template":
        return template(argument, resources) + "\n"
    raise CtlError(f"unrecognized output format '{output}'")


def _columns(kind, names, resources, inherited):
    for name in names:
        if not callable(kind.columns.get(name)):
            known = ", ".join(key for key, value in kind.columns.items() if callable(value))
            raise CtlError(f"unknown output column '{name}', supported columns are: {known}")
    rows = [[kind.columns[name](resource, inherited) for name in names] for resource in resources]
    return table([list(names), *rows])


def _yaml(resources):
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _data):
            return True

    if not resources:
        return "[]\n"
    return yaml.dump(resources, Dumper=Dumper, sort_keys=True, default_flow_style=False, width=2**31)


def template(text, resources):
    """
    A Go template over the lists of resources, as far as it can be told from outside.

    The original hands over a list of lists (one for each kind) whose elements are Go structs, so
    that ``{{range .}}{{range .Items}}{{.Metadata.CIDR}}{{end}}{{end}}`` is the way to a field.
    """
    parts = re.split(r"({{.*?}})", text)
    produced, rest = _run(parts, 0, [{"Items": resources, "Metadata": {}}], text)
    return produced if rest >= len(parts) else produced + "".join(parts[rest:])


def _run(parts, position, data, text):
    out = ""
    while position < len(parts):
        part = parts[position]
        if not part.startswith("{{"):
            out += part
        else:
            action = part[2:-2].strip()
            if action == "end":
                return out, position
            if action.startswith("range "):
                items = _field(action[6:].strip(), data, text, _offset(parts, position))
                end = position
                for item in items or []:
                    produced, end = _run(parts, position + 1, item, text)
                    out += produced
                position = end if items else _run(parts, position + 1, {}, text)[1]
            else:
                out += str(_field(action, data, text, _offset(parts, position)))
        position += 1
    return out, position


def _offset(parts, position):
    return sum(map(len, parts[:position])) + 2


def _field(path, data, text, offset):
    for match in re.finditer(r"\.(\w+)", path):
        name = match[1]
        found = None
        if isinstance(data, dict):
            found = next((data[key] for key in data if key.replace("-", "").lower() == name.lower()), None)
        if found is None:
            raise TemplateError(
                f'template: get:1:{offset + match.start()}: executing "get" at <{path}>: '
                f"can't evaluate field {name} in type unversioned.ListMetadata"
            )
        data = found
    return data


class TemplateError(Exception):
    """Printed where the result should be; the exit code stays 0."""
