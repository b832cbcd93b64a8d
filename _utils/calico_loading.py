"""
The formula's helpers, each loaded when something of it is first asked for, and anew once files have changed.

A plain import keeps what it loaded for as long as the process lives, whatever release has come since. So what
Salt's loader reads asks :func:`of_this_release`. Helpers import each other plainly.

Only this file stays as it was first loaded: should it ever promise something else, it needs another name.
"""

import contextlib
import functools
import importlib
import importlib.machinery
import os
import sys
import threading

_PREFIX = "calico_"
_LOCK = threading.RLock()
# What files were when their modules were loaded.
_stamps = {}

# A job is a fork of the minion: it must not inherit a lock that a thread left behind holds.
os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release)


class Helper:
    """
    Stands for the module of this name, in the release that is on disk when it is first used.

    directory, name
        Of its file, the latter without ``.py`` (text).
    """

    def __init__(self, directory, name):
        self.__dict__.update(_directory=directory, _name=name, _module=None)

    def __getattr__(self, attribute):
        # Whoever looks a file's contents over, as Salt's loader does, has no use of a helper yet.
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        module = self.__dict__["_module"]
        if module is None:
            module = self.__dict__["_module"] = _load(self.__dict__["_directory"], self.__dict__["_name"])
        return getattr(module, attribute)


def of_this_release():
    """
    What makes a :class:`Helper` of a name. For the head of a file that Salt's loader reads.

    Whatever is loaded now and is not what lies on disk is loaded anew when it is next asked for. All or
    nothing: helpers of two releases do not fit together. Who has loaded one already keeps it.
    """
    # Salt's loader has the directory on the path, but only while it reads a file.
    found = importlib.machinery.PathFinder.find_spec(__name__)
    directory = os.path.dirname(found.origin if found else __file__)
    with _LOCK:
        loaded = _ours()
        if not all(
            _stamps.get(name) == _stamp(module) and os.path.dirname(module.__file__) == directory
            for name, module in loaded
        ):
            for name, _module in loaded:
                sys.modules.pop(name, None)
            _stamps.clear()
            importlib.invalidate_caches()
    return functools.partial(Helper, directory)


def _load(directory, name):
    with _LOCK:
        sys.path.append(directory)
        try:
            module = importlib.import_module(name)
        finally:
            sys.path.remove(directory)
        for loaded, other in _ours():
            _stamps.setdefault(loaded, _stamp(other))
        return module


def _ours():
    """(name, module) of all helpers that are loaded, but of this one."""
    return [
        (name, module)
        for name, module in list(sys.modules.items())
        if name.startswith(_PREFIX) and name != __name__ and getattr(module, "__file__", None)
    ]


def _stamp(module):
    with contextlib.suppress(OSError):
        found = os.stat(module.__file__)
        return module.__file__, found.st_ino, found.st_size, found.st_mtime_ns
    return None
