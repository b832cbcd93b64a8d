"""
Forms: how a value of a resource is written in the API, what it means, and what is accepted.

A form knows three spellings of a value: the *word* (the formula's own, the same for all generations,
shown in differences), the API's value, and the text that Felix takes from its environment and from
the raw keys of Calico 2.6. Pure: no Salt, no side effects.
"""

import copy
import functools
import ipaddress
import re

import calico_regex
import calico_selector
import calico_topology


def network_of(value):
    """The network of a CIDR, whose host bits may be set, or None if it is none."""
    return _network(value) if isinstance(value, str) else None


# Every pool is held against every other one.
@functools.lru_cache(maxsize=4096)
def _network(value):
    if "/" not in value or "%" in value:
        return None
    address, _slash, length = value.partition("/")
    if not re.fullmatch(r"[0-9]{1,3}", length):
        return None
    try:
        return ipaddress.ip_network((ipaddress.ip_address(address), int(length)), strict=False)
    except ValueError:
        return None


def host_bits(text, network):
    """Whether the address before the slash is another than the network's own."""
    return ipaddress.ip_address(text.partition("/")[0]) != network.network_address


class Plain:
    """A value that is written as it is."""

    accepted = "a value"

    def read(self, value):
        """The formula's word for the API's value; what is no API value comes back unchanged."""
        return value

    def write(self, word):
        """The API's value for the formula's word; nonsense comes back as nonsense."""
        return word

    def valid(self, _word):
        """Whether the word is one that we accept."""
        return True

    def comparable(self, word):
        """What two words must have in common to mean the same."""
        return word

    def text(self, word):
        """The word as Felix' text."""
        return str(word)


class Boolean(Plain):
    """true or false."""

    accepted = "true or false (without quotes)"

    def valid(self, word):
        return isinstance(word, bool)


_FLAGS = {
    **dict.fromkeys(("true", "1", "yes", "y", "t"), True),
    **dict.fromkeys(("false", "0", "no", "n", "f"), False),
}


class Flag(Boolean):
    """true or false, also in the words that Felix takes for them."""

    accepted = "true or false"

    def read(self, value):
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return _FLAGS.get(str(value).lower(), value)
        return value

    write = read

    def text(self, word):
        return "true" if self.read(word) else "false"


class Number(Plain):
    """A whole number, which some write as text."""

    def __init__(self, low=None, high=None):
        self.low, self.high = low, high
        self.accepted = "a whole number"
        if high is not None:
            self.accepted += f" from {low} to {high}"
        elif low is not None:
            self.accepted += f", at least {low}"

    def read(self, value):
        if isinstance(value, str) and re.fullmatch("-?[0-9]{1,12}", value):
            return int(value)
        return value

    write = read

    def valid(self, word):
        if not isinstance(word, int) or isinstance(word, bool):
            return False
        return (self.low is None or word >= self.low) and (self.high is None or word <= self.high)

    def text(self, word):
        return str(self.read(word))


class Mark(Number):
    """Bits of a packet's mark: a number, mostly written as 0xffff0000. Felix needs some of them."""

    def __init__(self, bits):
        super().__init__(0, 0xFFFFFFFF)
        self.bits = bits
        self.accepted = f"a mask of at least {bits} bits such as 0xffff0000"

    def read(self, value):
        if isinstance(value, str) and re.fullmatch("0[xX][0-9a-fA-F]{1,8}", value):
            return int(value, 16)
        return super().read(value)

    write = read

    def valid(self, word):
        return super().valid(word) and bin(word).count("1") >= self.bits

    def text(self, word):
        number = self.read(word)
        return f"0x{number:x}" if isinstance(number, int) else str(word)


class Text(Plain):
    """Text that is not empty."""

    accepted = "text"

    def valid(self, word):
        return isinstance(word, str) and bool(word)


class FreeText(Text):
    """Text, for which numbers will do."""

    def read(self, value):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        return value

    write = read


class Matching(FreeText):
    """Text that a whole pattern matches."""

    def __init__(self, pattern, accepted):
        self.pattern = pattern
        self.accepted = accepted

    def valid(self, word):
        return isinstance(word, str) and bool(re.fullmatch(self.pattern, word))


class CommaText(FreeText):
    """Text with commas, between which each part is judged as it is: Felix takes no blanks away."""

    def valid(self, word):
        return isinstance(word, str) and all(map(self.valid_part, word.split(",")))

    def valid_part(self, part):
        """Whether one part is accepted."""
        return bool(part)


class Regex(FreeText):
    """A regular expression, as Go reads them."""

    accepted = "a regular expression as Go reads them, such as ^(en|eth).*"

    def valid(self, word):
        return isinstance(word, str) and bool(word) and calico_regex.problem(word) is None


class Interfaces(CommaText):
    """Names of interfaces, and regular expressions between slashes, as text with commas."""

    accepted = "names of interfaces or /regular expressions/ with commas, such as kube-ipvs0,/^vmbr/"

    def valid_part(self, part):
        if len(part) > 2 and part[0] == part[-1] == "/" and not re.search(r"\s", part):
            return calico_regex.problem(part[1:-1]) is None
        return bool(re.fullmatch("[a-zA-Z0-9_-]{1,15}", part))


class InterfacePrefixes(CommaText):
    """With what the names of workloads' interfaces begin, as text with commas."""

    accepted = "beginnings of interfaces' names with commas, such as cali,tap"

    def valid_part(self, part):
        return bool(re.fullmatch("[a-zA-Z0-9_-]{1,15}", part))


class Community(Text):
    """A BGP community, standard or large. Source: the validation of BGPConfiguration in libcalico-go."""

    accepted = "a community such as 64512:120 (16 bits each) or 64512:300:100 (32 bits each)"

    def valid(self, word):
        parts = word.split(":") if isinstance(word, str) else ()
        bits = {2: 16, 3: 32}.get(len(parts))
        return bool(bits) and all(
            re.fullmatch("[0-9]{1,10}", part) and int(part) < 1 << bits for part in parts
        )


class OneOf(Plain):
    """One of a few words."""

    def __init__(self, *words):
        self.words = words
        self.accepted = " or ".join(words)

    def valid(self, word):
        return isinstance(word, str) and word in self.words


class Words(OneOf):
    """One of a few words in any case; the API's spelling is the one that is written."""

    def __init__(self, *words):
        super().__init__(*words)
        self._spelling = {word.lower(): word for word in words}
        self.accepted += " (in any case)"

    def read(self, value):
        return self._spelling.get(value.lower(), value) if isinstance(value, str) else value

    write = read

    def text(self, word):
        return str(self.read(word))


class LogLevel(Plain):
    """How much BIRD logs; ``written`` maps the formula's words to those of the API."""

    def __init__(self, written):
        self.written = written
        self._read = {value.lower(): word for word, value in written.items()}
        self.accepted = " or ".join(written)

    def read(self, value):
        # YAML reads an unquoted off or no as false.
        word = "none" if value is False else value.lower() if isinstance(value, str) else value
        if word in ("critical", "none") and word not in self._read:
            # Of either BIRD logs as little as of what is fatal.
            word = "fatal"
        return self._read.get(word, word) if isinstance(word, str) else word

    def write(self, word):
        known = self.read(word)
        return self.written[known] if self.valid(known) else word

    def valid(self, word):
        return isinstance(word, str) and word in self.written


class AsNumber(Plain):
    """An AS number, which may be written as text or with a dot."""

    accepted = "an AS number from 0 to 4294967295, or dotted such as 1.10"

    def read(self, value):
        return calico_topology.as_number(value) if self.valid(value) else value

    write = read

    def valid(self, word):
        # A dotted number without quotes is a fraction to YAML: 1.10 has become 1.1.
        if isinstance(word, bool) or not isinstance(word, (int, str)):
            return False
        if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,5})?", str(word)):
            return False
        try:
            calico_topology.as_number(word)
        except calico_topology.Unreadable:
            return False
        return True


class Port(Number):
    """A TCP port."""

    def __init__(self):
        super().__init__(1, 65535)
        self.accepted = "a port from 1 to 65535"


class Address(Plain):
    """An IP address in its canonical spelling."""

    accepted = "an IP address such as 10.0.0.1"

    def __init__(self, version=None):
        self.version = version
        if version:
            self.accepted = f"an IPv{version} address"

    def read(self, value):
        try:
            return str(ipaddress.ip_address(value)) if isinstance(value, str) else value
        except ValueError:
            return value

    write = read

    def valid(self, word):
        try:
            if not isinstance(word, str) or "%" in word:
                return False
            return self.version in (None, ipaddress.ip_address(word).version)
        except ValueError:
            return False


class AddressAndPort(Address):
    """An IP address, with or without a port."""

    accepted = "an IP address, or one with port such as 10.0.0.1:180 or [fd00::1]:180"
    _with_port = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")

    def parts(self, value):
        """(address, port or None) of a value that is an address with or without a port, or None."""
        found = self._with_port.fullmatch(value) if isinstance(value, str) else None
        if not found:
            return (super().read(value), None) if super().valid(value) else None
        address = super().read(found.group(1) or found.group(2))
        return (address, int(found.group(3))) if super().valid(address) else None

    def read(self, value):
        found = self.parts(value)
        if not found:
            return value
        address, port = found
        if port is None:
            return address
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    write = read

    def valid(self, word):
        found = self.parts(word)
        return bool(found) and (found[1] is None or 0 < found[1] < 65536)


class Selector(Text):
    """A selector of labels; two are the same where they read the same."""

    accepted = 'a selector such as rack == "1"'

    def valid(self, word):
        return self._parsed(word) is not None

    def comparable(self, word):
        parsed = self._parsed(word)
        return word if parsed is None else str(parsed)

    @staticmethod
    def _parsed(word):
        try:
            return calico_selector.parse(word) if isinstance(word, str) else None
        except calico_selector.SelectorError:
            return None


class Name(Text):
    """What the v3 API takes for the name of a resource."""

    accepted = "a name of lower case letters, digits, - and ."
    _names = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

    def valid(self, word):
        return isinstance(word, str) and bool(self._names.fullmatch(word)) and len(word) < 254


class ConfigurationName(Text):
    """The name of settings for all nodes, or for one."""

    accepted = "default, or node.NAME for one node"

    def valid(self, word):
        if not isinstance(word, str):
            return False
        return word == "default" or (word.startswith("node.") and bool(word[len("node.") :].strip()))


class Network(Plain):
    """A network in its canonical spelling."""

    accepted = "a network such as 172.20.0.0/16"

    def read(self, value):
        network = network_of(value)
        # Host bits are a mistake to be told, not to be mended in silence.
        return str(network) if network and not host_bits(value, network) else value

    write = read

    def valid(self, word):
        return network_of(word) is not None


class AddressOrNetwork(Network):
    """A network, or a single address."""

    accepted = "a network or an address"

    def valid(self, word):
        return Network.valid(self, word) or Address().valid(word)


class Encapsulation(Plain):
    """When packets between nodes are wrapped; ``written`` has the API's value for each word."""

    words = ("never", "always", "crosssubnet")
    accepted = "never, always or crosssubnet"

    def __init__(self, written):
        self.written = dict(zip(self.words, written))

    def read(self, value):
        word = str(value).lower().replace("-", "")
        # YAML reads an unquoted off as false.
        word = "never" if value is False or word == "off" else word
        return word if word in self.words else value

    def write(self, word):
        known = self.read(word)
        return copy.copy(self.written[known]) if self.valid(known) else word

    def valid(self, word):
        known = self.read(word)
        return isinstance(known, str) and known in self.words


class SwitchAndMode(Encapsulation):
    """The same in the v1 API: a switch and a mode, of which the mode may be absent."""

    def read(self, value):
        if not isinstance(value, dict) or not set(value) <= {"enabled", "mode"}:
            return super().read(value)
        if not isinstance(value.get("enabled", False), bool):
            return value
        return super().read(value.get("mode") or "always") if value.get("enabled") else "never"


# Durations ------------------------------------------------------------------------------------

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION = re.compile(r"(?:[0-9]{1,15}(?:\.[0-9]{1,9})?(?:ms|s|m|h))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_BARE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


def milliseconds(text):
    """How long a duration in the API's spelling is (``1m30s``), in milliseconds; None if it is none."""
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _trimmed(number):
    return f"{number:.9f}".rstrip("0").rstrip(".")


class Duration(Plain):
    """A duration as the API prints it; a number without unit has the form's ``unit``."""

    def __init__(self, unit="s"):
        self.unit = unit
        name = "seconds" if unit == "s" else "milliseconds"
        self.accepted = f"a duration such as 90s or 1m30s, or a number of {name}"

    def read(self, value):
        if isinstance(value, bool):
            return value
        bare = str(value) if isinstance(value, (int, float)) else value
        if isinstance(bare, str) and _BARE.fullmatch(bare):
            return self._spelt(float(bare) * _UNITS[self.unit])
        length = milliseconds(value)
        return value if length is None else self._spelt(length)

    write = read

    def valid(self, word):
        return milliseconds(word) is not None

    def comparable(self, word):
        length = milliseconds(word)
        return word if length is None else length

    def text(self, word):
        length = milliseconds(self.read(word))
        return str(word) if length is None else _trimmed(length / _UNITS[self.unit])

    @staticmethod
    def _spelt(length):
        if 0 < length < 1000:
            return _trimmed(length) + "ms"
        minutes, seconds = divmod(length / 1000, 60)
        hours, minutes = divmod(int(minutes), 60)
        found = f"{hours}h" if hours else ""
        found += f"{minutes}m" if hours or minutes else ""
        return found + _trimmed(seconds) + "s"


# Lists ----------------------------------------------------------------------------------------


class ListOf(Plain):
    """
    A list of one form.

    ordered
        False where the order means nothing.
    """

    def __init__(self, form, ordered=False):
        self.form = form
        self.ordered = ordered
        self.accepted = f"a list, each {form.accepted}"

    def read(self, value):
        items = self._items(value)
        if items is None:
            return value
        items = [self._item(item) for item in items]
        return items if self.ordered else sorted(items, key=repr)

    def write(self, word):
        items = self._items(word)
        return word if items is None else [self.form.write(self._item(item)) for item in items]

    def valid(self, word):
        items = self._items(word)
        return items is not None and all(self.form.valid(self._item(item)) for item in items)

    def text(self, word):
        items = self._items(word)
        return str(word) if items is None else ",".join(map(self.form.text, items)) or "none"

    def _items(self, value):
        return value if isinstance(value, (list, tuple)) else None

    def _item(self, item):
        return self.form.read(item)


class CommaList(ListOf):
    """A list that Felix takes as text with commas."""

    def __init__(self, form, ordered=False):
        super().__init__(form, ordered)
        self.accepted = f"a list or text with commas, each {form.accepted}"

    def _items(self, value):
        if not isinstance(value, str):
            return super()._items(value)
        if value.strip().lower() == "none":
            return []
        return [part.strip() for part in value.split(",") if part.strip()] or None


class Blocks(ListOf):
    """Networks, each of which the API has as a mapping with cidr."""

    def __init__(self):
        super().__init__(Network())

    def _item(self, item):
        known = item.get("cidr") if isinstance(item, dict) and set(item) == {"cidr"} else item
        return self.form.read(known)

    def write(self, word):
        items = self._items(word)
        return word if items is None else [{"cidr": self._item(item)} for item in items]


class Mapping(Plain):
    """A mapping with a form for each of its keys; ``required`` ones may not be absent."""

    def __init__(self, accepted, required, optional=None):
        self.accepted = accepted
        self.required = required
        self.forms = {**required, **(optional or {})}

    def read(self, value):
        if not isinstance(value, dict):
            return value
        return {key: self.forms[key].read(part) if key in self.forms else part for key, part in value.items()}

    def write(self, word):
        if not isinstance(word, dict):
            return word
        return {key: self.forms[key].write(part) if key in self.forms else part for key, part in word.items()}

    def valid(self, word):
        if not isinstance(word, dict) or not set(self.required) <= set(word) <= set(self.forms):
            return False
        return all(self.forms[key].valid(part) for key, part in word.items())

    def comparable(self, word):
        return word


class HostPort(Plain):
    """A port that stays open: tcp:22, or udp:10.0.0.0/8:68 where Felix knows ports of networks."""

    def __init__(self, networks=True):
        self.networks = networks
        self.accepted = "a port such as tcp:22" + (" or tcp:10.0.0.0/8:22" if networks else " or udp:53")

    _text = re.compile(r"(?:(tcp|udp|sctp):)?(?:(?:\[([^\]]+)\]|([0-9./]+)):)?([0-9]{1,5})", re.IGNORECASE)

    def read(self, value):
        if isinstance(value, dict):
            if not {"port"} <= set(value) <= {"protocol", "port", "net"}:
                return value
            parts = value.get("protocol") or "tcp", value.get("net") or "", value.get("port")
        elif isinstance(value, int) and not isinstance(value, bool):
            parts = "tcp", "", value
        else:
            found = self._text.fullmatch(value) if isinstance(value, str) else None
            if not found:
                return value
            protocol, net6, net4, port = found.groups()
            parts = protocol or "tcp", net6 or net4 or "", int(port)
        if not isinstance(parts[0], str) or not isinstance(parts[1], str) or isinstance(parts[2], bool):
            return value
        net = f"[{parts[1]}]:" if ":" in parts[1] else parts[1] and parts[1] + ":"
        return f"{parts[0].lower()}:{net}{parts[2]}"

    def write(self, word):
        known = self.read(word)
        if not self.valid(known):
            return word
        protocol, net6, net4, port = self._text.fullmatch(known).groups()
        net = net6 or net4
        return {"protocol": protocol, "port": int(port), **({"net": net} if net else {})}

    def valid(self, word):
        found = self._text.fullmatch(word) if isinstance(word, str) else None
        if not found or int(found.group(4)) > 65535:
            return False
        net = found.group(2) or found.group(3)
        if not self.networks and (net or (found.group(1) or "").lower() == "sctp"):
            return False
        return not net or network_of(net if "/" in net else net + "/0") is not None

    def text(self, word):
        return str(self.read(word))


class PortRange(Plain):
    """A port or a range of ports: 80 or 30000:32767."""

    accepted = "a port or a range such as 30000:32767"
    _text = re.compile(r"([0-9]{1,5})(?::([0-9]{1,5}))?")

    def read(self, value):
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def write(self, word):
        known = self.read(word)
        return int(known) if isinstance(known, str) and re.fullmatch("[0-9]{1,5}", known) else word

    def valid(self, word):
        found = self._text.fullmatch(word) if isinstance(word, str) else None
        if not found:
            return False
        low = int(found.group(1))
        return low <= int(found.group(2) or low) <= 65535

    def text(self, word):
        return self.read(word)


class Pairs(Plain):
    """Names with values: a mapping, or text such as all=tcp,weps=udp."""

    accepted = "a mapping of text to text"

    def read(self, value):
        if not isinstance(value, str) or "=" not in value:
            return value
        return dict(part.strip().partition("=")[::2] for part in value.split(",") if part.strip())

    write = read

    def valid(self, word):
        return isinstance(word, dict) and all(isinstance(part, str) for pair in word.items() for part in pair)

    def text(self, word):
        known = self.read(word)
        return ",".join(f"{k}={v}" for k, v in known.items()) if isinstance(known, dict) else str(word)


class Structure(Plain):
    """Whatever the API takes there; only a mapping or a list can be right."""

    accepted = "a mapping or a list as the API has it"

    def valid(self, word):
        return isinstance(word, (dict, list))


class Raw(Plain):
    """
    A form of Felix as the raw keys of Calico 2.6 hold it: always text.

    none
        Whether 'none' switches the setting off.
    """

    def __init__(self, form, none=True):
        self.form = form
        self.none = none
        self.accepted = form.accepted

    def read(self, value):
        if self.none and isinstance(value, str) and value.strip().lower() == "none":
            return "none"
        return self.form.read(value)

    def write(self, word):
        known = self.read(word)
        return known if self._off(known) or not self.form.valid(known) else self.form.text(known)

    def valid(self, word):
        if isinstance(word, str) and word.strip().lower() == "none":
            return self.none
        return self.form.valid(word)

    def _off(self, word):
        return self.none and isinstance(word, str) and word == "none"

    def comparable(self, word):
        return self.form.comparable(word)
