"""
The benchmark: what the formula costs, measured in one run on this machine.

``CALICOCTL`` (a path) names an original calicoctl to compare ``calico.status`` with.
"""

import argparse
import json
import os
import sys

from tests.bench import apply, datastore, measure, mesh, status

# Samples of a run over the answers of a thousand nodes.
MESHES = 5


def main():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="samples of each figure")
    parser.add_argument("--applies", type=int, default=8, help="pairs of runs on the lab's hosts")
    parser.add_argument("--json", action="store_true", help="print data, not a table")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a limit is exceeded")
    arguments = parser.parse_args()
    calicoctl = os.environ.get("CALICOCTL") or None
    missing = status.birds.missing()
    if missing:
        sys.exit(f"The benchmark cannot run here: {missing}.")
    figures = status.figures(arguments.rounds, calicoctl)
    figures += datastore.figures(arguments.rounds)
    figures += mesh.figures(MESHES)
    figures += apply.figures(arguments.applies)
    if arguments.json:
        print(json.dumps([figure.as_data() for figure in figures], indent=1))
    else:
        print("\n".join(measure.table(figures)))
    if arguments.check and not all(figure.good for figure in figures):
        sys.exit(1)


if __name__ == "__main__":
    main()
