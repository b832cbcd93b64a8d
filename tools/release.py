"""
Write what is derived from the code: ``calico/release.yaml`` and ``docs/settings.md``.

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
        "# Made by tools/release.py: digest of _modules, _states and _utils. A minion that holds other\n"
        "# code syncs before the run.\n"
        "code: %s\n" % calico.code()
    )


def settings_md():
    """Every setting in one table, from the table that checks them."""
    import calico_settings

    lines = [
        "# Settings",
        "",
        "Everything stands below `calico:` in the pillar. A key that is not in these tables is refused,",
        "with the nearest known one. Made from `_utils/calico_settings.py` by `make release`.",
        "",
        "| setting | default | what it is for |",
        "|---|---|---|",
    ]
    lines.extend(_row(path, default, doc) for path, _kind, default, doc in calico_settings.SETTINGS)
    lines += ["", "## Each of `network:pools`", "", "| key | default | what it is for |", "|---|---|---|"]
    lines.extend(_row(path, default, doc) for path, _kind, default, doc in calico_settings.POOL_SETTINGS)
    return "\n".join(lines) + "\n"


def _row(path, default, doc):
    import calico_settings

    if default is calico_settings.REQUIRED:
        shown = "**required**"
    elif callable(default):
        shown = "derived"
    elif default is None or default in ([], {}):
        shown = "none"
    else:
        shown = "`%s`" % (str(default).lower() if isinstance(default, bool) else repr(default))
    return "| `%s` | %s | %s |" % (path, shown, doc)


FILES = {"calico/release.yaml": release_yaml, "docs/settings.md": settings_md}


def main():
    for name, make in FILES.items():
        (ROOT / name).write_text(make(), encoding="utf-8")
        print("wrote", name)


if __name__ == "__main__":
    main()
