"""
What is wrong with a pillar, as data: the path, what was given, what is accepted, and never a secret.

Pure: no Salt, no files, no network.
"""

import difflib

from calico_secrets import MASK, is_secret, shown, text

_LONGEST = 120


class SettingsError(Exception):
    """
    The pillar cannot be used.

    problems
        List of dicts ``{setting, given, accepted}``: the pillar path, what was given (as text, masked
        where it is secret) and what is accepted. One for each mistake found, in pillar order.
    """

    def __init__(self, problems):
        super().__init__("\n".join(problem_text(problem) for problem in problems))
        self.problems = problems


def problem_text(problem):
    """One problem as one line for a person: ``setting: got …; accepted: …``."""
    return "{setting}: got {given}; accepted: {accepted}".format(**problem)


def problem(setting, given, accepted, secret=False):
    """A problem as data; what was given is shortened, and masked where it is secret."""
    if given is None:
        return absent(setting, accepted)
    seen = MASK if secret or is_secret(setting) else repr(shown(given, certificates=False))
    if len(seen) > _LONGEST:
        seen = seen[: _LONGEST - 3] + "…"
    return {"setting": text(setting), "given": seen, "accepted": accepted}


def absent(setting, accepted):
    """The problem that something is missing."""
    return {"setting": setting, "given": "nothing", "accepted": accepted}


def unknown(setting, known, hint=None):
    """
    The problem that nothing goes by this name.

    setting
        The pillar path; its last part is the name.
    known
        The names that there are.
    hint
        Text that says which one may be meant; found among the known ones where it is None.
    """
    if hint is None:
        hint = nearest(setting.rpartition(":")[2], known)
    accepted = "one of " + ", ".join(sorted(known)) if len(known) > 1 else "only " + "".join(known)
    return {"setting": text(setting), "given": "an unknown setting", "accepted": accepted + hint}


def nearest(word, known):
    """' (did you mean …?)' where a known word is near, else ''."""
    lowered = {str(item).lower(): str(item) for item in known}
    found = difflib.get_close_matches(str(word).lower(), list(lowered), n=1, cutoff=0.6)
    return meant(lowered[found[0]]) if found else ""


def meant(name):
    """The words of a problem for the name that was probably meant."""
    return " (did you mean '%s'?)" % name
