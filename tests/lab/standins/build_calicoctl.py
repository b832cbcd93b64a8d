#!/usr/bin/env python3
"""Build the stand-in for calicoctl as one executable file: build_calicoctl.py OUT [--version 1.6.3]."""

import argparse
import importlib.util
import io
import marshal
import os
import pathlib
import re
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
RELEASES = ("1.6.3",)
# A fixed date: the same sources give the same bytes.
DATE = (1980, 1, 1, 0, 0, 0)
STARTS = b"#!/usr/bin/python3 -E\n"
MAIN = "import sys\nfrom calicoctl.program import main\nsys.exit(main(sys.argv[1:]))\n"


def build(out, release):
    files = {"__main__.py": MAIN, "etcdv2.py": (HERE / "etcdv2.py").read_text()}
    for path in sorted((HERE / "calicoctl").glob("*.py")):
        if path.name != "__main__.py":
            files[f"calicoctl/{path.name}"] = path.read_text()
    start = "calicoctl/__init__.py"
    files[start] = re.sub(r'RELEASE = ".*"', f'RELEASE = "{release}"', files[start])
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for name, text in files.items():
            packed.writestr(zipfile.ZipInfo(name, DATE), text)
            packed.writestr(zipfile.ZipInfo(f"{name}c", DATE), compiled(name, text))
    temporary = out.with_name(out.name + ".new")
    temporary.write_bytes(STARTS + archive.getvalue())
    temporary.chmod(0o755)
    os.replace(temporary, out)


def compiled(name, text):
    """Python reads compiled files of an archive, but never writes them: half of a start saved."""
    code = compile(text, name, "exec", dont_inherit=True)
    # Flags 1: held valid by the hash of the source, and not checked against it.
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    return head + importlib.util.source_hash(text.encode()) + marshal.dumps(code)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--version", choices=RELEASES, default=RELEASES[-1])
    arguments = parser.parse_args()
    build(arguments.out, arguments.version)


if __name__ == "__main__":
    main()
