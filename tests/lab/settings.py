"""What a lab is made of: a profile, and what the environment puts in its place."""

import os
from dataclasses import dataclass
from pathlib import Path

PROFILES = Path(__file__).with_name("profiles")
DEFAULT_PROFILE = "v2"


class Refused(Exception):
    """One sentence: what was asked for and cannot be had."""


@dataclass(frozen=True)
class Settings:
    profile: str
    calico_version: str
    calicoctl_version: str
    pillar: dict
    # The originals, in place of the stand-ins.
    image_archive: Path | None = None
    calicoctl: Path | None = None


def check(environment=os.environ):
    """Is what the environment names there? Also asked before there is anything but Python."""
    if not _profile(environment).is_file():
        known = ", ".join(sorted(path.stem for path in PROFILES.glob("*.yaml")))
        raise Refused(f"PROFILE={_profile(environment).stem} is not known; there is {known}.")
    for variable in ("CALICO_IMAGE_ARCHIVE", "CALICOCTL"):
        path = _file(environment, variable)
        if path and not path.is_file():
            raise Refused(f"{variable}={path} is no file.")


def from_environment(environment=os.environ):
    import yaml  # comes with Salt, which is not there yet when `check` is asked

    check(environment)
    profile = yaml.safe_load(_profile(environment).read_text())
    return Settings(
        profile=_profile(environment).stem,
        calico_version=environment.get("CALICO_VERSION") or profile["calico_version"],
        calicoctl_version=profile["calicoctl_version"],
        pillar=profile["pillar"],
        image_archive=_file(environment, "CALICO_IMAGE_ARCHIVE"),
        calicoctl=_file(environment, "CALICOCTL"),
    )


def _profile(environment):
    """The one that is named, else the one that CALICO_VERSION belongs to."""
    generation = (environment.get("CALICO_VERSION") or DEFAULT_PROFILE).partition(".")[0]
    return PROFILES / f"{environment.get('PROFILE') or generation}.yaml"


def _file(environment, variable):
    value = environment.get(variable)
    return Path(value).resolve() if value else None
