"""
Write what is derived from the code: ``calico/release.yaml``, ``docs/settings.md`` and the list of files
in ``FORMULA``.

Run it after each change of ``_modules``, ``_states`` or ``_utils`` (``make release``); a test fails
where it was forgotten.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "_utils"))


def release_yaml():
    """The digest that a minion's own code is compared with at the start of every run."""
    from _modules import calico

    return (
        "# Made by tools/release.py: digest of _modules, _states and _utils, and what a minion loads.\n"
        "# One that holds other code gets these files before the run.\n"
        "code: %s\nfiles:\n%s" % (calico.code(), "".join("  - %s\n" % name for name in _for_minions()))
    )


def _for_minions():
    """What a minion loads, as it lies below its extension modules."""
    return [
        "%s/%s" % (folder, path.name)
        for folder in ("beacons", "modules", "states", "utils")
        for path in sorted((ROOT / ("_" + folder)).glob("*.py"))
    ]


def settings_md():
    """Every setting, from the tables that check them."""
    import calico_container
    import calico_felix
    import calico_schema

    lines = [
        "# Settings",
        "",
        "Everything stands below `calico:` in the pillar. A key that is not in these tables is refused,",
        "with the nearest known one. *Calico* says which releases of calico/node have a setting: with any",
        "other it is refused. Made from `_utils/calico_schema.py` by `make release`.",
        "",
        *_table(
            ("setting", "default", "Calico", "what it is for"),
            (
                ("`%s`" % row.path, _default(row), _releases(row.since), row.doc)
                for row in calico_schema.SETTINGS
            ),
        ),
        "",
        "## Each of `network:pools`",
        "",
        *_table(
            ("key", "default", "Calico", "what it is for"),
            (
                ("`%s`" % row.path, _default(row), _releases(row.since), row.doc)
                for row in calico_schema.POOL_SETTINGS
            ),
        ),
        "",
        "## Each of `network:peers`",
        "",
        "None has a default; each peer needs `peer_ip`, or with 3.x `peer_selector` or",
        "`local_workload_selector`.",
        "",
        *_words(calico_schema.PEER_SETTINGS),
        "",
        "## In `network:bgp`",
        "",
        "What is not given stays as it is in the datastore. The mesh and the cluster's AS number are",
        "settings of their own: `network:mesh` and `network:as_number`.",
        "",
        *_words(calico_schema.BGP_SETTINGS),
        "",
        "## Variables",
        "",
        "calico/node's variables that `env` does not take, as a setting decides them. The variables of",
        "Felix are not taken either, in any case: `felix` has them; nor `FELIX_ETCD…`. With the datastore",
        "kubernetes these are the kubeconfig's: "
        + ", ".join("`%s`" % name for name in calico_container.KUBERNETES_VARIABLES)
        + ".",
        "",
        *_table(
            ("variable", "setting"),
            (("`%s`" % name, "`%s`" % path) for name, path in calico_container.OWNED_VARIABLES.items()),
        ),
        "",
        "## Felix",
        "",
        "`felix` takes names, in any case; `network:felix` with 3.x fields or names, with 2.6 names.",
        "Durations are numbers of seconds in `felix` and text such as `90s` in `network:felix` with 3.x.",
        "",
        *_table(
            ("name", "field (3.x)", "Calico", "accepted"),
            (
                (
                    "`%s`" % row.name,
                    "`%s`" % row.field if row.field else "only in `felix`",
                    _releases(row.since, row.until),
                    row.form.accepted,
                )
                for row in calico_felix.ROWS
            ),
        ),
    ]
    return "\n".join(lines) + "\n"


def _table(heading, rows):
    yield "| %s |" % " | ".join(heading)
    yield "|" + "---|" * len(heading)
    for row in rows:
        yield "| %s |" % " | ".join(cell.replace("|", "\\|") for cell in row)


def _words(rows):
    return _table(
        ("key", "Calico", "what it is for"),
        (("`%s`" % row.path, _releases(row.since), row.doc) for row in rows),
    )


def _releases(since, until=None):
    """The releases that have a setting, for people."""
    import calico_felix

    if until == calico_felix.ONLY_2_6:
        return "2.6"
    first = ["2.6"] if since is None else []
    if until is not None:
        return ", ".join([*first, "3.%d to 3.%d" % (since or 0, until)])
    return ", ".join([*first, "since 3.%d" % since if since else "3.x"])


def _default(row):
    import calico_schema

    if row.default is calico_schema.REQUIRED:
        return "**required**"
    if callable(row.default) or row.path in ADDED:
        found = _by_release(row)
        # What another setting decides is the same for all releases.
        same = len({value for _since, value in found}) == 1
        return found[0][1] if same else "; ".join("%s: %s" % item for item in found)
    return _shown(row.default)


def _shown(value):
    if value is None:
        return "none"
    if isinstance(value, dict) and value:
        return ", ".join("`%s: %s`" % (key, _plain(item)) for key, item in value.items())
    return "`%s`" % _plain(value)


def _plain(value):
    return str(value).lower() if isinstance(value, bool) else value if value else repr(value)


# Settings that the release adds to: table of the generation.
ADDED = {"felix": "felix_defaults", "env": "env_defaults"}


def _by_release(row):
    """(releases, default) of what the release decides, from each release on that changes it."""
    import calico_generations

    found = []
    for name, tables in calico_generations.GENERATIONS.items():
        last = None
        for minor in range(33) if name == "v3" else [6]:
            value = (
                tables[ADDED[row.path]]
                if row.path in ADDED
                else row.default({"_tables": tables, "minor": minor})
            )
            if value != last:
                since = "2.6" if name == "v1" else "since 3.%d" % minor if minor else "3.x"
                found.append((since, _shown(value)))
            last = value
    return found


# What SPM's package holds, as Salt's file roots have it.
PACKAGED = ("calico", "_beacons", "_modules", "_runners", "_states", "_utils")


def formula():
    """FORMULA with the list of what it is made of; all that stands before the list is kept."""
    head, _, _ = (ROOT / "FORMULA").read_text(encoding="utf-8").partition("files:\n")
    # Without the list SPM would pack all that lies in a checkout, and cannot install compiled Python.
    found = sorted(
        path.relative_to(ROOT).as_posix()
        for name in PACKAGED
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    names = ["FORMULA", "LICENSE", "README.md", "pillar.example", *found]
    return head + "files:\n" + "".join("  - %s\n" % name for name in names)


FILES = {"calico/release.yaml": release_yaml, "docs/settings.md": settings_md, "FORMULA": formula}


def main():
    for name, make in FILES.items():
        (ROOT / name).write_text(make(), encoding="utf-8")
        print("wrote", name)


if __name__ == "__main__":
    main()
