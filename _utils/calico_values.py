"""
Kinds of values: each takes what the pillar holds and returns the finished value, or raises Refused.

A kind is a function; ``integer(1, 9)``, ``list_of(text)`` and the like make one. What they know of
Calico is the form of its values, never which release has them. Pure: no Salt, no files, no network.
"""

import ipaddress
import posixpath
import re

import calico_problems
import calico_regex
from calico_forms import network_of


class Refused(Exception):
    """A value is not accepted; the argument says what would be."""


_VERSION = re.compile(r"v?([0-9]+)\.([0-9]+)\.([0-9]+)([-+][0-9A-Za-z.+-]+)?")
# Whatever stands in the unit file must survive systemd's parsing unchanged: no blank, quote, %, $, \.
_IMAGE = re.compile(r"[a-z0-9]([a-z0-9._/:-]*[a-z0-9])?")
_TAGGED = re.compile(r":[A-Za-z0-9_][A-Za-z0-9._-]*$")
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@-]*\.service")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PATH = re.compile(r"/[A-Za-z0-9._/@+=,-]*")
_NODE_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENDPOINT = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:([0-9]{1,5}))/?")
_HASH = re.compile(r"(?:(md5|sha1|sha224|sha256|sha384|sha512)[=:])?([0-9a-fA-F]{32,128})")
# How many hex digits a hash has; without its name it is known by them.
_HASH_DIGITS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_LABEL = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9._]{0,61}[A-Za-z0-9])?)?")
_LINE_BREAKS = re.compile("[\x00\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
# Halves of surrogate pairs are in no text that a file could hold.
_NO_LINE = re.compile("[\x00\n\r\ud800-\udfff]")
_ONE_LINE = "text without a line break or NUL"
# docker reads a line of its environment file up to 64 KiB, the variable's name included.
_LONGEST_VALUE = 60000


def text(value):
    """One line of text, any characters but line breaks."""
    if not isinstance(value, str) or not value or _NO_LINE.search(value):
        raise Refused(_ONE_LINE + ", not empty")
    return value


def boolean(value):
    """true or false, as YAML knows them: ``"yes"`` in quotes is text and refused."""
    if not isinstance(value, bool):
        raise Refused("true or false (without quotes)")
    return value


def integer(low, high):
    """A whole number from low to high."""

    def check(value):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Refused("a whole number from %d to %d" % (low, high))
        return value

    return check


DAY = 86400


def seconds(value):
    """A number of seconds, from none to a day."""
    # What is not a number at all is not between the two either.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= DAY:
        raise Refused("a number of seconds from 0 to %d, without quotes" % DAY)
    return value


def one_of(*words):
    """One of the words, in any case."""

    def check(value):
        if isinstance(value, str) and value.lower() in words:
            return value.lower()
        raise Refused("one of " + ", ".join(words) if len(words) > 1 else "only " + words[0])

    return check


def matching(pattern, accepted):
    """Text that the whole pattern matches."""

    def check(value):
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise Refused(accepted)
        return value

    return check


def version(value):
    """A full release; ``v`` is added where it is missing, as the image tags have it."""
    match = _VERSION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise Refused("a full release such as 'v3.22.5' or 'v2.6.12', as text")
    return value if value.startswith("v") else "v" + value


def endpoint(value):
    """One etcd endpoint."""
    match = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    if not match or (match.group(3) and not 0 < int(match.group(3)) < 65536):
        accepted = "a URL with scheme, host and port, such as https://10.0.0.1:2379"
        if "@" in str(value):
            accepted += "; calico:etcd:username and calico:etcd:password are for etcd's own users"
        raise Refused(accepted)
    return value.rstrip("/")


def pem_source(value):
    """A certificate or key: PEM text, a ``salt://`` URL, or a path on the minion."""
    if isinstance(value, str):
        if "-----BEGIN " in value:
            return value if value.endswith("\n") else value + "\n"
        if file_source(value, schemes=("salt://",)):
            return value
    raise Refused("PEM text, a salt:// URL, or a path on the minion")


def file_source(value, schemes=("salt://", "http://", "https://")):
    """True if value names a file that Salt can fetch or that lies on the minion."""
    if not isinstance(value, str) or re.search(r"[\s\x00]", value):
        return False
    return bool(_PATH.fullmatch(value)) or any(
        value.startswith(scheme) and value != scheme for scheme in schemes
    )


def etcd_user(value):
    """A user of etcd's own: HTTP's way to say who one is ends a name at a colon."""
    if ":" in text(value):
        raise Refused("a name without a colon")
    return value


def directory(value):
    """An absolute path to a directory, without a slash at its end."""
    if not isinstance(value, str) or not _PATH.fullmatch(value) or ".." in value.split("/"):
        raise Refused("an absolute path of plain characters, such as /opt/cni/bin")
    normal = "/" + "/".join(part for part in value.split("/") if part not in ("", "."))
    if normal == "/":
        raise Refused("an absolute path below /, such as /opt/cni/bin")
    return normal


def source(value):
    """Where a file comes from."""
    if not file_source(value):
        raise Refused("salt://…, https://…, or a path on the minion, without blanks")
    return value


def archive(value):
    """Where an image archive comes from."""
    if not file_source(value, schemes=("salt://",)):
        raise Refused("salt://… or a path on the minion, without blanks")
    return value


def is_global(address):
    """Whether calico/node would take an address (an object of :mod:`ipaddress`) for a node's."""
    return not (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address == ipaddress.IPv4Address("255.255.255.255")
    )


def address(family):
    """
    An address of one family, with or without prefix length; '' keeps what is registered.

    'none' is judged later: not every release knows it.
    """
    accepted = f"an IPv{family} address with or without /prefix, 'autodetect', or '' (keep or detect)"

    def check(value):
        if value in ("", "autodetect", "none"):
            return value
        try:
            interface = ipaddress.ip_interface(value if isinstance(value, str) else None)
        except ValueError:
            raise Refused(accepted) from None
        if interface.version != family:
            raise Refused(accepted)
        if "%" in value:
            raise Refused(accepted + ", without a zone")
        if not re.fullmatch(r"[^/]+(/[0-9]{1,3})?", value) or not interface.network.prefixlen:
            raise Refused(accepted + " (the prefix is the number of its bits, such as /24)")
        if not is_global(interface.ip) or getattr(interface.ip, "ipv4_mapped", None):
            raise Refused(accepted + ": one that other nodes reach")
        return value

    return check


DETECTIONS = {
    "first-found": None,
    "can-reach": "…",
    "interface": "REGEX[,…]",
    "skip-interface": "REGEX[,…]",
    "cidr": "CIDR[,…]",
    "kubernetes-internal-ip": None,
}


def detections(methods):
    return ", ".join(
        name if DETECTIONS[name] is None else "%s=%s" % (name, DETECTIONS[name]) for name in methods
    )


def comma_separated(argument):
    """The parts of a method's argument, as calico/node splits it."""
    return re.split(r"\s*,\s*", argument)


def autodetection(value):
    """How calico/node looks for its address; which release knows which way is judged later."""
    words = detections(DETECTIONS)
    if not isinstance(value, str) or _NO_LINE.search(value):
        raise Refused(words)
    method, equals, argument = value.partition("=")
    if method not in DETECTIONS or bool(equals and argument) != (DETECTIONS[method] is not None):
        raise Refused(words)
    for item in comma_separated(argument) if argument else ():
        if method.endswith("interface"):
            # An empty one would match every interface.
            wrong = calico_regex.problem(item) if item else "an empty one between commas"
            if wrong:
                raise Refused(words + " (bad regular expression for Go: %s)" % wrong)
        elif method == "cidr" and network_of(item) is None:
            raise Refused(words + " (%r is no network)" % item)
    return value


def as_number(value):
    """An AS number; dotted notation becomes the plain number that Calico prints."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}\.[0-9]{1,5}", value):
        high, low = (int(part) for part in value.split("."))
        value = high * 65536 + low if max(high, low) < 65536 else -1
    elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4294967295:
        raise Refused("an AS number from 1 to 4294967295, or dotted such as '64086.59904'")
    return value


def mount(value):
    """One mount, ``/host/path:/container/path[:ro|:rw]``."""
    parts = value.split(":") if isinstance(value, str) else []
    if (
        len(parts) not in (2, 3)
        or not all(_PATH.fullmatch(part) for part in parts[:2])
        # No runtime mounts anything at the container's root.
        or posixpath.normpath(parts[1]).strip("/") == ""
        or (len(parts) == 3 and parts[2] not in ("ro", "rw"))
    ):
        raise Refused("/host/path:/container/path with :ro or :rw where wanted, plain characters")
    return value


def scalar(value):
    """
    The value of an environment variable as the container shall see it.

    Text arrives byte for byte. Line breaks cannot be had in a file that docker reads line by line.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str) or _NO_LINE.search(value):
        raise Refused(_ONE_LINE + ", a number, or true or false")
    if len(value.encode("utf-8")) > _LONGEST_VALUE:
        raise Refused("text of at most %d bytes" % _LONGEST_VALUE)
    return value


def compound(value):
    """A compound target."""
    whole = isinstance(value, str) and value.strip() and not _LINE_BREAKS.search(value)
    # Salt takes one that it cannot read for one that matches nobody.
    if not whole or not _is_compound(value.split()):
        raise Refused("a compound match of minions such as '*' or 'G@role:master and web*'")
    return value


# The matchers that Salt knows by a letter, some with a delimiter of their own before the @; any other
# word is a glob.
_TARGET = re.compile(r"([GPIJ]\S?|[ELSRN])@\S+|(?![A-Z]\S?@)[^\s()]+")


def _is_compound(words):
    """Whether operands and operators alternate as Salt reads them, and parentheses are closed."""
    depth, operand_is_due = 0, True
    for position, word in enumerate(words):
        if word in ("and", "or", ")"):
            # Salt takes a match that begins with an operator for garbage.
            if operand_is_due:
                return False
            operand_is_due = word != ")"
            depth -= word == ")"
        elif word == "not":
            # After an operand Salt reads it as `and not`.
            if words[position + 1 : position + 2] == ["not"]:
                return False
            operand_is_due = True
        elif not operand_is_due or (word != "(" and not _is_target(word)):
            return False
        else:
            operand_is_due = word == "("
            depth += word == "("
        if depth < 0:
            return False
    return depth == 0 and not operand_is_due


def _is_target(word):
    if not _TARGET.fullmatch(word):
        return False
    letter, _, pattern = word.partition("@")
    if letter != "E":
        return True
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def workload_mtu(value):
    """An MTU, or 0 to have it found out."""
    if value == 0 and not isinstance(value, bool):
        return value
    try:
        return integer(576, 65535)(value)
    except Refused as err:
        raise Refused("%s; or 0 (since 3.17): as Felix found out" % err) from None


def list_of(kind):
    """A list whose items are of one kind; problems name the item by its position."""

    def check(value, path, problems):
        if not isinstance(value, list):
            raise Refused("a list: in [ ], or each entry on a line of its own after '- '")
        items = []
        for position, item in enumerate(value):
            here = "%s:%d" % (path, position)
            try:
                items.append(kind(item))
            except Refused as err:
                # Without its scheme, a user's password is not known for one.
                secret = kind is endpoint and "@" in str(item) and "://" not in str(item)
                problems.append(calico_problems.problem(here, item, str(err), secret=secret))
        return items

    check.nested = True
    return check


def mapping_of(kind, name_kind):
    """A mapping whose values are of one kind and whose keys name_kind accepts."""

    def check(value, path, problems):
        if not isinstance(value, dict):
            raise Refused("a mapping")
        result = {}
        for key, item in value.items():
            here = "%s:%s" % (path, key)
            try:
                name = name_kind(key)
            except Refused as err:
                problems.append(dict(calico_problems.absent(here, str(err)), given="the name %r" % (key,)))
                continue
            try:
                result[name] = kind(item)
            except Refused as err:
                problems.append(calico_problems.problem(here, item, str(err)))
        return result

    check.nested = True
    return check


def variable(name):
    """The name of an environment variable."""
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
        raise Refused("a name of letters, digits and _, not beginning with a digit")
    return name


def any_key(name):
    """Keys are checked later, against what the release knows; of text they are anyway."""
    if not isinstance(name, str):
        raise Refused("a name in letters")
    return name


def label_name(name):
    """The name of a label."""
    if not isinstance(name, str) or not _LABEL.fullmatch(name):
        raise Refused("a name of letters, digits, '.', '_' and '-', with or without a prefix and '/'")
    return name


def label_value(value):
    """The value of a label; null removes the label."""
    if value is None or (isinstance(value, str) and _LABEL_VALUE.fullmatch(value)):
        return value
    raise Refused("text of letters, digits, '.', '_' and '-' in quotes, at most 63; or null to remove it")


def cluster_id(value):
    """The cluster of a route reflector."""
    accepted = "a cluster ID in the form of an IPv4 address such as 244.0.0.1, and not 0.0.0.0"
    try:
        address = ipaddress.IPv4Address(value if isinstance(value, str) else None)
    except ValueError:
        raise Refused(accepted) from None
    # To BIRD that is none at all.
    if not int(address):
        raise Refused(accepted)
    return str(address)


def mapping(value):
    """A mapping whose contents are checked later, against what the release knows."""
    if not isinstance(value, dict):
        raise Refused("a mapping")
    return value


def hash_parts(text):
    """(algorithm, hex digits in lower case) of a hash; None where it is none."""
    match = _HASH.fullmatch(text) if isinstance(text, str) else None
    if not match:
        return None
    name, digits = match.groups()
    names = {count: name for name, count in _HASH_DIGITS.items()}
    name = name or names.get(len(digits))
    return (name, digits.lower()) if _HASH_DIGITS.get(name) == len(digits) else None


def file_hash(value):
    """The hash of a file, with as many digits as its algorithm makes."""
    if hash_parts(value) is None:
        raise Refused(HASH_WORDS)
    return value


HASH_WORDS = "a hash such as sha256=<64 hex digits>"
image = matching(_IMAGE, "an image name such as calico/node or registry.example.org:5000/calico/node")
service_unit = matching(_SERVICE, "the name of a service of systemd such as docker.service")
image_digest = matching(_DIGEST, "sha256:<64 hex digits>")
path = matching(_PATH, "an absolute path of plain characters, such as /etc/calico/file")
node_name = matching(_NODE_NAME, "lower-case letters, digits, '-' and '.'")

# As names of resources are in Calico 3.
resource_name = matching(_NODE_NAME, "a name of lower case letters, digits, - and .")


def tag(name):
    """The tag that the name of an image carries, or None."""
    found = _TAGGED.search(name)
    return found.group()[1:] if found else None


def release_numbers(release):
    """(major, minor) of a version as :func:`version` returns it."""
    return tuple(int(number) for number in _VERSION.fullmatch(release).groups()[:2])


def checked(kind, value, path, problems):
    """
    The finished value, or None where the kind refuses it, which is added to the problems.

    path
        Where the value lies in the pillar.
    """
    try:
        if getattr(kind, "nested", False):
            return kind(value, path, problems)
        return kind(value)
    except Refused as err:
        # What is neither a path nor a URL may be a key whose first line was lost.
        secret = kind is pem_source and ("\n" in str(value) or len(str(value)) > 100)
        problems.append(calico_problems.problem(path, value, str(err), secret=secret))
        return None
