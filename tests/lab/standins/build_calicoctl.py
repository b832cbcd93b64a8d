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
# A fixed date: the same sources give the same bytes.
DATE = (1980, 1, 1, 0, 0, 0)
STARTS = b"#!/usr/bin/python3 -E\n"
MAIN = "import sys\nfrom calicoctl.program import main\nsys.exit(main({version!r}, sys.argv[1:]))\n"
CLIENTS = ("etcdv2.py", "etcdv3.py")


def build(out, version):
    package = HERE / "calicoctl"
    sources = (
        [HERE / name for name in CLIENTS] + sorted(package.glob("*.py")) + sorted(package.glob("*.structs"))
    )
    files = {str(path.relative_to(HERE)): path.read_text() for path in sources}
    files["__main__.py"] = MAIN.format(version=version)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for name, text in sorted(files.items()):
            packed.writestr(zipfile.ZipInfo(name, DATE), text)
            if name.endswith(".py"):
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
    parser.add_argument("--version", choices=known_versions(), default="1.6.3")
    arguments = parser.parse_args()
    build(arguments.out, f"v{arguments.version}")


def known_versions():
    """What can be played, read without running the package."""
    return re.findall(r'name="v([\d.]+)"', (HERE / "calicoctl" / "versions.py").read_text())


if __name__ == "__main__":
    main()
