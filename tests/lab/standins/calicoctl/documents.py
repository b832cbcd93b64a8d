"""Input files: YAML to resources, strictly, and the words for what is wrong with them."""

import re
import sys

from . import structs
from .errors import BadFile, CtlError

_LOCATION = "field in document is not recognized or is in the wrong location: "
_FLOW_END = re.compile(r"expected ',' or '([\]}])'")
# What Go's YAML takes for numbers; neither dates nor numbers to the base 60.
_PLAIN = (
    ("bool", r"(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)", "yYnNtTfFoO"),
    ("int", r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?",
        "-+0123456789.",
    ),
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
)


class WrapperWords:
    """The words of the YAML library that Calico used up to 3.30."""

    bad_yaml = "error parsing document: yaml: "

    @staticmethod
    def bad(text):
        return BadFile(f"error parsing document: {text}")

    def unknown_field(self, name):
        return self.bad(f"{_LOCATION}{name}")

    def unknown_setting(self, name):
        return self.unknown_field(name)

    def wrong_type(self, value, struct, path, wanted):
        name = path.rpartition(".")[2]
        kind = _json_kind(value)
        if not path or kind in ("object", "array"):
            return self.bad(f"json: cannot unmarshal {kind} into Go value of type {wanted}")
        described = f"{kind} '{str(value).lower() if kind == 'bool' else value}'"
        return self.bad(f"cannot parse {described} into field {struct}.{name} of type {wanted}")

    def no_text(self, _struct, _path):
        return self.bad("json: cannot unmarshal number into Go value of type string")


class KubernetesWords(WrapperWords):
    """Those of the library that Kubernetes uses, since then in Calico, too."""

    bad_yaml = "error converting YAML to JSON: yaml: "

    @staticmethod
    def bad(text):
        return BadFile(f"error unmarshaling JSON: while decoding JSON: {text}")

    def unknown_field(self, name):
        # Found before anything else is tried: the only one that says no more than this.
        return CtlError(f"{_LOCATION}{name}")

    def unknown_setting(self, name):
        return self.bad(f'json: unknown field "{name}"')

    def wrong_type(self, value, struct, path, wanted):
        where = f"Go struct field {struct}.{path}" if path else "Go value"
        return self.bad(f"json: cannot unmarshal {_json_kind(value)} into {where} of type {wanted}")

    def no_text(self, struct, path):
        return self.wrong_type(0, struct, path, "string")


_WORDS = {"wrapper": WrapperWords, "kubernetes": KubernetesWords}


def words_of(version):
    return _WORDS[version.yaml_words]()


def _json_kind(value):
    if isinstance(value, bool):
        return "bool"
    return {dict: "object", list: "array", str: "string"}.get(type(value), "number")


def parse_yaml(text, words):
    """All documents in TEXT that say something."""
    import yaml

    try:
        return [document for document in yaml.load_all(text, Loader=_loader()) if document is not None]
    except yaml.YAMLError as error:
        raise BadFile(f"{words.bad_yaml}{_go_words(error)}") from None


def text_of(path):
    """What a file, or ``-`` for stdin, says."""
    try:
        if path == "-":
            return sys.stdin.buffer.read().decode()
        with open(path, "rb") as file:
            return file.read().decode()
    except UnicodeDecodeError:
        raise BadFile("error parsing document: yaml: control characters are not allowed") from None
    except OSError as error:
        raise BadFile(f"open {path}: {error.strerror.lower()}") from None


def _loader():
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        """One that knows no plain scalar yet."""

    Loader.yaml_implicit_resolvers = {}

    for kind, pattern, first in _PLAIN:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern})$"), list(first))
    Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("<<$"), ["<"])
    return Loader


def _go_words(error):
    mark = getattr(error, "context_mark", None) or getattr(error, "problem_mark", None)
    line = (mark.line if mark else 0) + 1
    problem = str(getattr(error, "problem", error))
    found = _FLOW_END.search(problem) or re.search("flow sequence()", str(error))
    if found:
        return f"line {line}: did not find expected ',' or '{found.group(1) or ']'}'"
    return f"line {line}: {problem}"


class Reader:
    """Reads resources for one version."""

    def __init__(self, version, kinds, schema):
        self._version = version
        self._kinds = kinds
        self._schema = schema
        self.words = words_of(version)

    def load(self, text):
        """[(kind, resource), …] of an input file."""
        found = []
        for document in parse_yaml(text, self.words):
            for item in document if isinstance(document, list) else [document]:
                found.extend(self._resources(item))
        return found

    def _resources(self, document):
        if not isinstance(document, dict):
            raise self.words.wrong_type(document, "Resource", "", "unversioned.TypeMetadata")
        version, name = document.get("apiVersion") or "", document.get("kind") or ""
        if name.endswith("List") and self._kinds.by_document(version, name[:-4]):
            return [self.decode(item) for item in document.get("items") or []]
        return [self.decode(document)]

    def decode(self, document):
        """(kind, resource) of one document: checked, and only with what it says."""
        version, name = document.get("apiVersion") or "", document.get("kind") or ""
        kind = self._kinds.by_document(version, name)
        if kind is None:
            word = "unknown" if self._version.small_letters else "Unknown"
            raise BadFile(f"{word} resource type ({name}) and/or version ({version})")
        resource = structs.decode(self._schema, kind.name, document, self.words)
        resource.setdefault("metadata", {})
        resource.setdefault("spec", {})
        return kind, resource
