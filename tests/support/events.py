"""The event bus of the lab's master."""

import time


class Events:
    """Context manager: what comes after it was entered and whose tag begins with ``prefix``."""

    def __init__(self, lab, prefix):
        self._lab, self._prefix = lab, prefix

    def __enter__(self):
        import salt.utils.event

        opts = self._lab.master.client.opts
        self._bus = salt.utils.event.get_event("master", sock_dir=opts["sock_dir"], opts=opts, listen=True)
        # What came before this is of no interest; the connection is made with the first question.
        self._bus.get_event(wait=0.1, tag=self._prefix, match_type="startswith")
        return self

    def __exit__(self, *_):
        self._bus.destroy()

    def wait(self, timeout):
        """The next one, ``{tag, data}``, or None where there is none within so many seconds."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            event = self._bus.get_event(wait=left, tag=self._prefix, match_type="startswith", full=True)
            if event:
                return event
        return None
