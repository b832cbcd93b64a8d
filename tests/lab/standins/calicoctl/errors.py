"""What can go wrong, in the words of the original."""


class CtlError(Exception):
    """Ends the command with this text and exit code 1."""


class BadFile(CtlError):
    """The input file cannot be used: nothing of it was tried."""


class NoResources(CtlError):
    """There was nothing to do it with."""


class NotFound(CtlError):
    def __init__(self, identity):
        super().__init__(f"resource does not exist: {identity}")


class AlreadyExists(CtlError):
    def __init__(self, identity):
        super().__init__(f"resource already exists: {identity}")
