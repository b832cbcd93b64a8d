"""pillar.example: what is active and what can be switched on is accepted, and nothing is left out."""

import re
from pathlib import Path

import calico_schema
import calico_settings
import pytest
import yaml

LINES = (Path(__file__).parents[2] / "pillar.example").read_text(encoding="utf-8").splitlines()
# A setting that is switched off; prose begins with two of them.
OFF = re.compile(r"( *)# (.*)")
RELEASE = re.compile(r"  +# (2\.6|3\.x|since 3\.(\d+))$")
KUBERNETES = re.compile(r"  +# instead of etcd$")


def holds(line, minor):
    """Whether the line is for this minor release of Calico 3, or for 2.6 (None)."""
    found = RELEASE.search(line)
    if not found:
        return True
    if minor is None:
        return found.group(1) == "2.6"
    return found.group(1) == "3.x" or (found.group(2) is not None and int(found.group(2)) <= minor)


def example(minor, kubernetes=False):
    """Everything switched on that is for a release."""
    text = []
    for line in LINES:
        if not holds(line, minor) or (KUBERNETES.search(line) and not kubernetes):
            continue
        found = OFF.fullmatch(line)
        text.append(found.group(1) + found.group(2) if found else line)
    pillar = yaml.safe_load("\n".join(text))["calico"]
    pillar["version"] = "v2.6.12" if minor is None else f"v3.{minor}.0"
    if kubernetes:
        del pillar["etcd"]
    return pillar


def test_as_it_is():
    checked = calico_settings.check(yaml.safe_load("\n".join(LINES))["calico"])
    assert checked["generation"] == "v1"


@pytest.mark.parametrize("minor", [None, 0, 3, 5, 7, 10, 14, 16, 22, 32])
def test_everything_switched_on(minor):
    assert calico_settings.check(example(minor))["major"] == (2 if minor is None else 3)


@pytest.mark.parametrize("minor", [0, 22, 32])
def test_with_kubernetes_as_datastore(minor):
    assert calico_settings.check(example(minor, kubernetes=True))["datastore"] == "kubernetes"


@pytest.mark.parametrize("minor", [None, 32])
def test_no_setting_is_left_out(minor):
    def paths(value, here=()):
        yield ":".join(here)
        for key, item in value.items() if isinstance(value, dict) else ():
            yield from paths(item, (*here, key))

    shown = set(paths(example(minor, kubernetes=minor is not None))) | {"datastore"}
    for row in calico_schema.SETTINGS:
        if row.known(*((2, 6) if minor is None else (3, minor))):
            assert row.path in shown or (minor and row.path.startswith("etcd:")), row.path


@pytest.mark.parametrize("tag", [line for line in LINES if RELEASE.search(line)])
def test_a_line_for_some_releases_is_refused_by_others(tag):
    """Else the remark is wrong; of lines in a list or with a value of their own this cannot be seen."""
    line = OFF.fullmatch(tag).group(2)
    name = re.match(r" *(\w+):", line)
    if not name or name.group(1) in ("kind", "metadata", "spec", "name", "CALICO_LIBNETWORK_ENABLED"):
        return
    if name.group(1) in ("CALICO_MANAGE_CNI", "IpInIpMtu"):
        return
    minor = RELEASE.search(tag).group(2)
    before = None if minor is None else int(minor) - 1
    pillar = example(before)
    whole = example(32)

    def graft(here, there):
        """Lay what only the other has, by this name, into the pillar."""
        for key, value in there.items() if isinstance(there, dict) else ():
            if key == name.group(1) and key not in here:
                here[key] = value
            elif isinstance(value, dict):
                here[key] = here.get(key) or {}
                graft(here[key], value)
            elif isinstance(value, list) and isinstance(here.get(key), list):
                for ours, theirs in zip(here[key], value):
                    if isinstance(ours, dict):
                        graft(ours, theirs)

    graft(pillar, whole)
    with pytest.raises(calico_settings.SettingsError) as caught:
        calico_settings.check(pillar)
    assert name.group(1) in str(caught.value)
