"""
What differs between families of distributions, as data: other defaults than the ones of the schema.

``{family, as Salt's grain os_family has it: {path of a setting: default}}``. Of all that the formula
touches this is the only difference: files, units, sysctl and CNI's directories are the same. Pure data:
no Salt, no side effects.
"""

FAMILIES = {
    "Debian": {},
    # It has brought no docker since its release 8.
    "RedHat": {"runtime": "podman"},
}


def defaults(family):
    """The defaults of a family (text, or None) that differ, {path: value}."""
    return FAMILIES.get(family, {})
