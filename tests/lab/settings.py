"""What a lab is made of: a profile, and what the environment puts in its place."""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

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


def from_environment(environment=os.environ):
    name = environment.get("PROFILE") or DEFAULT_PROFILE
    file = PROFILES / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in PROFILES.glob("*.yaml")))
        raise Refused(f"PROFILE={name} is not known; there is {known}.")
    profile = yaml.safe_load(file.read_text())
    return Settings(
        profile=name,
        calico_version=environment.get("CALICO_VERSION") or profile["calico_version"],
        calicoctl_version=profile["calicoctl_version"],
        pillar=profile["pillar"],
        image_archive=_file(environment, "CALICO_IMAGE_ARCHIVE"),
        calicoctl=_file(environment, "CALICOCTL"),
    )


def _file(environment, variable):
    if not (value := environment.get(variable)):
        return None
    path = Path(value).resolve()
    if not path.is_file():
        raise Refused(f"{variable}={value} is no file.")
    return path
