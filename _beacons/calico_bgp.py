"""
Events when a BGP session of this node goes down or up, Felix gets ready or not, or calico-node's
container changes.

:maturity: new
:depends: the execution module ``calico`` of this formula
:platform: Linux

Quiet otherwise. The first look after each start of the minion, and after each refresh of its beacons or
modules, tells nothing: it is what the next ones are compared with. What cannot be read (BIRD's or
docker's socket) is told once when it begins and once when it ends; the sessions count as unchanged until
then, and may take ``settle`` seconds to come back after BIRD was started anew.

Holds for Salt 3006 to 3008 and calico/node 2.6.x and 3.x. See ``docs/events.md``.
"""

import logging

log = logging.getLogger(__name__)

__virtualname__ = "calico_bgp"

# A beacon gets neither `__utils__` nor plain imports of the formula's helpers; this is all it does itself.
FUNCTION = "calico.watched"
# Keys that Salt itself reads in any beacon's configuration.
SALTS = {"interval", "enabled", "disable_during_state_run", "run_once", "beacon_module", "_beacon_name"}
# Keys of ours: what is accepted, in words and as a test.
OWN = {
    "settle": ("a number of seconds from 0 to 3600", lambda value: _number(value, (int, float), 0, 3600)),
    "most": ("a whole number from 1 to 100000", lambda value: _number(value, int, 1, 100000)),
}

# What was seen last, by the beacon's name in the configuration: there may be several.
_seen = {}
# Those that could not look and have said so.
_complained = set()


def __virtual__():
    # Never False: that answer would be kept after the module has been synced.
    return __virtualname__


def _number(value, kind, least, most):
    return isinstance(value, kind) and not isinstance(value, bool) and least <= value <= most


def _options(config):
    return {key: value for item in config for key, value in item.items()}


def validate(config):
    """
    Is this a configuration of the beacon?

    config
        A list of dicts. ``interval`` is Salt's own: seconds between two looks. ``settle``: how
        long sessions may take to come back after BIRD was started anew, in seconds (30). ``most``: how
        many sessions that went the same way at once are told one by one; more are one event (50).

    Returns ``(valid, text)``; the text names the key, what was given and what is accepted.
    """
    if not isinstance(config, list) or not all(isinstance(item, dict) for item in config):
        return False, "calico_bgp: got %r; accepted: a list of mappings such as [{interval: 5}]" % (config,)
    known = sorted(OWN) + sorted(SALTS - {"_beacon_name"})
    for key, value in _options(config).items():
        if key in SALTS:
            continue
        if key not in OWN:
            return False, "calico_bgp:%s: got an unknown key; accepted: %s" % (key, ", ".join(known))
        accepted, fits = OWN[key]
        if not fits(value):
            return False, "calico_bgp:%s: got %r; accepted: %s" % (key, value, accepted)
    return True, "Valid beacon configuration"


def beacon(config):
    """
    What happened since the last look, as a list of events.

    Each has ``kind`` (session, sessions, bird, felix, container, docker), ``node``, ``old``, ``new``
    and, where there is one, the ``reason``; a session also name, address, port, type, as_number, family,
    info (the BGP state) and since. The tag ends in ``KIND/CHANGE``, such as ``session/down``.

    .. code-block:: yaml

        beacons:
          calico_bgp:
            - interval: 5
    """
    options = _options(config)
    name = options.get("_beacon_name", __virtualname__)
    if FUNCTION not in __salt__:
        # An error here would be an event at each look.
        if name not in _complained:
            log.warning("%s: there is no function %s: sync the formula's modules", name, FUNCTION)
            _complained.add(name)
        return []
    own = {key: options[key] for key in OWN if key in options}
    found = __salt__[FUNCTION](before=_seen.get(name), **own)
    _seen[name] = found["state"]
    return found["events"]
