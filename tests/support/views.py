"""Answers of a fleet's minions to ``calico.overview``, made without the fleet; faults are planted in them."""

import datetime

import calico_mesh

NOW = datetime.datetime(2026, 6, 1, 12, 0, tzinfo=datetime.timezone.utc)
IMAGE = "calico/node:v3.22.5"
ENDS = "2027-05-01T00:00:00+00:00"
REFUSED = "Active, Socket: Connection refused"
UNREACHABLE = "Connect, Socket: No route to host"
SINCE = "11:58:03"


def address(index):
    return "10.%d.%d.%d" % (index // 40000, index // 200 % 200, index % 200 + 1)


class Fleet:
    """A full mesh of ``count`` nodes, forty in a rack, that is well."""

    def __init__(self, count):
        self.names = ["node%d" % (number + 1) for number in range(count)]
        self.up = {name: {} for name in self.names}
        self.down = {name: {} for name in self.names}
        self.addresses = {name: address(index) for index, name in enumerate(self.names)}
        everyone = dict.fromkeys(self.addresses.values())
        for name in self.names:
            self.up[name] = dict(everyone)
            del self.up[name][self.addresses[name]]
        self.changed = {}
        self.silent = []
        self.failed = {}
        self.store = {
            "generation": "v3",
            "as_number": 64512,
            "mesh": True,
            "locked": False,
            "nodes": {
                name: [[self.addresses[name]], 64512, "r%02d" % (index // 40 + 1), False]
                for index, name in enumerate(self.names)
            },
            "pools": [
                {"cidr": "172.20.0.0/16", "disabled": False, "block_size": 26, "used": 9000, "blocks": 700}
            ],
            "stray": [],
            "strays": 0,
        }

    # Faults

    def breaks(self, near, far, why=REFUSED):
        """NEAR sees no session with FAR, a node or an address."""
        there = self.addresses.get(far, far)
        self.up[near].pop(there, None)
        self.down[near].setdefault(why, {})[there] = SINCE

    def breaks_all(self, name, own, others):
        """No session of the node is up, as both sides see it."""
        for other in self.names:
            if other != name:
                self.breaks(name, other, own)
                self.breaks(other, name, others)

    def peers(self, name, address):
        """The node also has a session with a peer that is none of ours."""
        self.up[name][address] = None

    def silences(self, name):
        self.silent.append(name)

    def says(self, name, **differently):
        self.changed.setdefault(name, {}).update(differently)

    # Answers

    def view(self, name):
        """What ``calico.overview`` returns on the node."""
        found = {
            "node": name,
            "addresses": [self.addresses[name]],
            "as_number": 64512,
            "backend": "bird",
            "absent": [],
            "reasons": [],
            "error": None,
            "wanted": IMAGE,
            "image": IMAGE,
            "certificates": {"ca": "2031-01-01T00:00:00+00:00", "cert": ENDS},
            "up": " ".join(self.up[name]),
            "down": [
                [why, ",".join(" ".join(filter(None, pair)) for pair in names.items())]
                for why, names in self.down[name].items()
            ],
            "extra": [],
            "extras": 0,
        }
        found.update(self.changed.get(name, {}))
        return found

    def answers(self):
        quiet = {*self.silent, *self.failed}
        views = {name: self.view(name) for name in self.names if name not in quiet}
        return calico_mesh.Answers(views, self.failed, self.silent, self.store, None)
