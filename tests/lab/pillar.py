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

    def write(self, changes=None, hosts=None):
        """The base with CHANGES for all, and more for single hosts: {host: changes}."""
        salt.PILLAR.mkdir(parents=True, exist_ok=True)
        hosts = hosts or {}
        top = {"*": ["lab"], **{name: [f"only_{name}"] for name in hosts}}
        wanted = {
            "top": {"base": top},
            "lab": {"calico": merged(self.base, changes or {})},
            **{f"only_{name}": {"calico": own} for name, own in hosts.items()},
        }
        for name, data in wanted.items():
            # Values must reach the minions as they are, also those that look like a template.
            text = "#!json\n" + json.dumps(data)
            (salt.PILLAR / f"{name}.sls").write_text(text)
        for file in salt.PILLAR.glob("*.sls"):
            if file.stem not in wanted:
                file.unlink()


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
