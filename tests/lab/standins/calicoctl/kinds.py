"""The kinds of resources as data: how they are called, what tells one from another, their tables."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    name: str  # of its struct, and as errors name it
    aliases: tuple
    # heading: Go template on the resource
    columns: dict
    # headings of the table, and of the wide one
    ps: tuple
    wide: tuple
    document: str = ""  # as documents name it, where that differs
    # Metadata that identifies one, in the order in which errors ask for it (v1), and what the bare
    # argument of get and delete stands for.
    identity: tuple = ("name",)
    argument: str = "name"
    # v1: to ask for one by name that is not there is an error.
    missing_is_error: bool = False
    # v3
    plural: str = ""
    namespaced: bool = False
    readonly: bool = False
    since: tuple = (0, 0)
    options: tuple = field(default=())  # of the command line that are metadata (v1)

    @property
    def kind(self):
        """The word in documents and in what is reported."""
        return self.document or self.name


class Kinds:
    def __init__(self, version):
        self._version = version
        if version.first:
            from .kinds_v1 import KINDS

            self._kinds = KINDS
        else:
            from .kinds_v3 import kinds_of

            self._kinds = kinds_of(version.number)

    def by_argument(self, word):
        """The kind that a word on the command line means, or None."""
        return next((kind for kind in self._kinds if word.lower() in kind.aliases), None)

    def by_document(self, api_version, name):
        """The kind that a document names, or None. Here the spelling counts."""
        if api_version != self._version.api_version:
            return None
        return next((kind for kind in self._kinds if kind.kind == name), None)
