"""How resources are printed: tables, YAML, JSON, templates."""

import json
from dataclasses import dataclass

from . import gotemplate, structs
from .documents import text_of
from .errors import CtlError

PLAIN = ("yaml", "yml", "json", "ps", "wide")
# key of the output: the error where its value is missing
WITH_VALUE = {
    "custom-columns": "need to specify at least one column",
    "go-template": "need to specify a template",
    "go-template-file": "need to specify a template file",
}


class HeadingError(Exception):
    """There is no such column."""


@dataclass(frozen=True)
class Found:
    """What one thing that was asked for gave: a list of resources, or the one of that name."""

    kind: object
    resources: list
    revision: str = ""
    is_list: bool = True


def checked(output):
    """(form, its value) of ``-o``; raises where there is no such form."""
    form, _, value = output.partition("=")
    if output in PLAIN:
        return output, ""
    if form not in WITH_VALUE:
        raise CtlError(f"unrecognized output format '{output}'")
    if not value:
        raise CtlError(WITH_VALUE[form])
    return form, value


class Printer:
    def __init__(self, version, schema, as_number):
        self._version = version
        self._schema = schema
        self._as_number = as_number  # function: the AS number of nodes that have none

    def render(self, form, value, results, with_namespace=False):
        """The text for ``-o FORM=VALUE``."""
        if form in ("ps", "wide"):
            tables = (self._table(found, getattr(found.kind, form), with_namespace) for found in results)
            return "".join(tables)
        if form == "custom-columns":
            names = [name.upper() for name in value.split(",")]
            return "".join(self._table(found, names, False) for found in results)
        if form == "json":
            end = "\n" if self._version.json_newline else ""
            return json.dumps(self._documents(results), indent=2, ensure_ascii=False) + end
        if form in ("yaml", "yml"):
            return _yaml(self._documents(results))
        if form == "go-template-file":
            value = text_of(value)
        return gotemplate.render(value, [self._go(found) for found in results]) + "\n"

    # --- documents ---

    def _documents(self, results):
        if self._version.first:
            return [self._document(found.kind, item) for found in results for item in found.resources]
        documents = [self._whole(found) for found in results]
        if not documents:
            return None
        return documents[0] if len(documents) == 1 else documents

    def _whole(self, found):
        if not found.is_list:
            return self._document(found.kind, found.resources[0])
        return {
            "kind": f"{found.kind.name}List",
            "apiVersion": self._version.api_version,
            "metadata": {"resourceVersion": found.revision},
            "items": [self._document(found.kind, item) for item in found.resources],
        }

    def _document(self, kind, resource):
        return structs.encode(self._schema, kind.name, resource)

    # --- tables ---

    def _table(self, found, names, with_namespace):
        kind = found.kind
        for name in names:
            if name not in kind.columns:
                known = ", ".join(kind.columns)
                raise HeadingError(f"Unknown heading {name}, valid values are: {known}")
        if with_namespace and kind.namespaced:
            names = ["NAMESPACE", *names]
        functions = {"config": lambda _name: self._as_number()}
        rows = [
            [
                gotemplate.render(kind.columns[name], self._go_resource(kind, item), functions)
                for name in names
            ]
            for item in found.resources
        ]
        return table([list(names), *rows])

    # --- templates ---

    def _package(self):
        return "api" if self._version.first else "v3"

    def _go_resource(self, kind, resource):
        return gotemplate.from_structs(self._schema, self._package(), kind.name, resource)

    def _go(self, found):
        if not found.is_list:
            return gotemplate.Pointer(self._go_resource(found.kind, found.resources[0]))
        metadata = (
            ("Metadata", "unversioned.ListMetadata") if self._version.first else ("ListMeta", "v1.ListMeta")
        )
        fields = {} if self._version.first else {"ResourceVersion": found.revision}
        return gotemplate.Pointer(
            gotemplate.Struct(
                f"{self._package()}.{found.kind.name}List",
                {
                    "Kind": f"{found.kind.kind}List",
                    "APIVersion": self._version.api_version,
                    metadata[0]: gotemplate.Struct(metadata[1], fields),
                    "Items": [self._go_resource(found.kind, item) for item in found.resources],
                },
            )
        )


def table(rows):
    """Columns as wide as their longest cell and three blanks; an empty line closes it."""
    widths = [max(map(len, column)) + 3 for column in zip(*rows, strict=True)]
    lines = ("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(lines) + "\n\n"


def _yaml(documents):
    if documents == []:
        return "[]\n"
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
        def ignore_aliases(self, _data):
            return True

    def as_go_writes(dumper, text):
        """Texts that would be read as something else stand in double quotes, long ones in blocks."""
        is_text = dumper.resolve(yaml.ScalarNode, text, (True, False)) == "tag:yaml.org,2002:str"
        style = "|" if "\n" in text else None if is_text else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, as_go_writes)
    text = yaml.dump(documents, Dumper=Dumper, sort_keys=True, default_flow_style=False, width=2**31 - 1)
    return text.removesuffix("...\n")
