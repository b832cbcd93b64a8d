"""What can go wrong, in the words of the original."""


class CtlError(Exception):
    """Ends the command with this text and exit code 1."""


class BadFile(CtlError):
    """The input file cannot be used: nothing of it was tried."""


class OnStdout(CtlError):
    """An error that every version writes to stdout, whatever it does with others."""


class Missing(OnStdout):
    """The configuration file that was asked for is not there."""


class Invalid(CtlError):
    """A resource breaks rules: [(field, value or None, reason)]."""

    def __init__(self, found):
        lines = [_field(*item) for item in found]
        if len(lines) == 1:
            super().__init__(f"error with field {lines[0]}")
        else:
            listed = "".join(f"-  {line}\n" for line in lines)
            super().__init__(f"error with the following fields:\n{listed}")


def _field(name, value, reason):
    shown = name if value is None else f"{name} = '{value}'"
    return f"{shown} ({reason})" if reason else shown


class NotFound(CtlError):
    def __init__(self, identity, cause=""):
        super().__init__(f"resource does not exist: {identity}{cause}")


class AlreadyExists(CtlError):
    def __init__(self, identity, cause=""):
        super().__init__(f"resource already exists: {identity}{cause}")


class Conflict(CtlError):
    """Another one wrote it meanwhile."""

    def __init__(self, identity):
        super().__init__(f"update conflict: {identity}")


class Unsupported(CtlError):
    """The operation is not for this kind."""


# What Go's client of the datastore puts behind a missing or present key, where it shows it.
NO_CAUSE = " with error: <nil>"
