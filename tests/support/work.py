"""How much work a function does, counted and not timed: it is the same on a busy machine."""

import sys


def calls(function):
    """(what FUNCTION returned, how many Python functions and C functions it called)."""
    counted = 0

    def count(_frame, event, _argument):
        nonlocal counted
        if event in ("call", "c_call"):
            counted += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        result = function()
    finally:
        sys.setprofile(before)
    return result, counted
