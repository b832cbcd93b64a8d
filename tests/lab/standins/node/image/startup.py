"""What calico/node does once before its services run: register the node, make sure of defaults.

Says what it does on stdout, as the original; exit code 1 ends the container.
"""

from __future__ import annotations

import importlib
import os
import sys

import process
from environment import Environment, Invalid


def main() -> int:
    process.named("startup")
    generation = process.generation()
    own = importlib.import_module(generation.startup)
    layout = importlib.import_module(generation.layout)
    try:
        own.Startup(Environment(os.environ)).run()
    except (Invalid, *layout.Error) as error:
        own.give_up(str(error).strip())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
