"""The lab's pillar: a profile, and what a test changes in it."""

import copy
import json

from tests.lab import salt

# As a value in changes: the key is not to be there.
REMOVED = object()


class Pillar:
    """`base` is what the lab was made with; `change` writes it with differences."""

    def __init__(self, base):
        self.base = base
        self._written = None

    def write(self, changes=None, hosts=None):
        """The base with CHANGES for all, and more for single hosts: {host: changes}. Is it another one?"""
        salt.PILLAR.mkdir(parents=True, exist_ok=True)
        hosts = hosts or {}
        top = {"*": ["lab"], **{name: [f"only_{name}"] for name in hosts}}
        wanted = {
            "top": {"base": top},
            "lab": {"calico": merged(self.base, changes or {})},
            **{f"only_{name}": {"calico": own} for name, own in hosts.items()},
        }
        # As JSON: values must reach the minions as they are, also those that look like a template.
        texts = {name: "#!json\n" + json.dumps(data) for name, data in wanted.items()}
        if texts == self._written:
            return False
        for name, text in texts.items():
            (salt.PILLAR / f"{name}.sls").write_text(text)
        for file in salt.PILLAR.glob("*.sls"):
            if file.stem not in wanted:
                file.unlink()
        self._written = texts
        return True


def merged(base, changes):
    """Like Salt merges pillars: dictionaries deeply, anything else replaced."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if value is REMOVED:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result
