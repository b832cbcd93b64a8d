"""The event bus of the lab's master."""

from tests.support import waiting


class Events:
    """Context manager: what comes after it was entered and whose tag begins with ``prefix``."""

    def __init__(self, lab, prefix):
        self._lab, self._prefix = lab, prefix

    def __enter__(self):
        import salt.utils.event

        opts = self._lab.master.client.opts
        self._bus = salt.utils.event.get_event("master", sock_dir=opts["sock_dir"], opts=opts, listen=True)
        # What came before this is of no interest.
        connected = lambda: self._bus.connect_pub(timeout=1)  # noqa: E731
        waiting.until(connected, "the master's event bus takes a connection")
        return self

    def __exit__(self, *_):
        self._bus.destroy()

    def wait(self, what):
        """The next one, ``{tag, data}``; WHAT is said where there is none."""
        return waiting.until(
            lambda: self._bus.get_event(wait=1, tag=self._prefix, match_type="startswith", full=True),
            what,
            pause=0,
        )
