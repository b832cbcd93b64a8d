"""The scalars of documents: what each type takes, and in which form it is kept."""

import ipaddress
import re

_UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|m|s|us|µs|ns))+")


def read(kind, value, words, struct, path):
    """VALUE as a field of this type keeps it; WORDS make the error."""
    return _TYPES[kind](value, words, struct, path)


def zero(kind):
    return {"bool": False, "int": 0, "float": 0, "as": 0}.get(kind, "")


def text(value):
    """A value of a map of texts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _text(value, words, struct, path):
    if isinstance(value, (dict, list)):
        raise words.wrong_type(value, struct, path, "string")
    return text(value)


def _bool(value, words, struct, path):
    if not isinstance(value, bool):
        raise words.wrong_type(value, struct, path, "bool")
    return value


def _int(value, words, struct, path):
    if isinstance(value, bool) or not isinstance(value, int):
        raise words.wrong_type(value, struct, path, "int")
    return value


def _float(value, words, struct, path):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise words.wrong_type(value, struct, path, "float64")
    return value


def as_number(value):
    """The plain number that a number, its text, or a dotted one means; None if it is none."""
    written = str(value)
    dotted = re.fullmatch(r"(\d{1,5})\.(\d{1,5})", written)
    if dotted and all(int(part) < 65536 for part in dotted.groups()):
        return int(dotted[1]) * 65536 + int(dotted[2])
    if re.fullmatch(r"\d{1,10}", written) and int(written) < 2**32:
        return int(written)
    return None


def _as(value, words, struct, path):
    number = None if isinstance(value, bool) else as_number(value)
    if number is None:
        if isinstance(value, str):
            raise words.bad(f"invalid AS Number format ({value})")
        raise words.no_text(struct, path)
    return number


def _either(value, words, struct, path):
    """A protocol or a port: a number or a text."""
    return (
        value if isinstance(value, int) and not isinstance(value, bool) else _text(value, words, struct, path)
    )


def _address(value, words, _struct, _path):
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        raise words.bad(f"invalid IP address: {value}") from None


def _network(value, words, _struct, _path):
    """With the host's bits: a node's address is written the same way."""
    try:
        interface = ipaddress.ip_interface(str(value))
    except ValueError:
        raise words.bad(f"invalid IP address: {value}") from None
    return f"{interface.ip}/{interface.network.prefixlen}"


def _duration(value, words, struct, path):
    written = _text(value, words, struct, path)
    if written == "0" or _DURATION.fullmatch(written):
        return go_duration(written)
    reason = "missing unit in" if re.fullmatch(r"[+-]?\d+(\.\d+)?", written) else "invalid"
    raise words.bad(f'time: {reason} duration "{written}"')


def go_duration(written):
    """A duration as Go prints it: 90s is 1m30s."""
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)", written)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    sign = "-" if written.startswith("-") and total else ""
    if 0 < total < 1:
        for unit in ("ms", "µs", "ns"):
            if total >= _UNITS[unit]:
                return f"{sign}{_plain(total / _UNITS[unit])}{unit}"
    hours, rest = divmod(round(total, 9), 3600)
    minutes, seconds = divmod(rest, 60)
    large = f"{int(hours)}h{int(minutes)}m" if hours else f"{int(minutes)}m" if minutes else ""
    return f"{sign}{large}{_plain(seconds)}s"


def _plain(number):
    return f"{number:.9f}".rstrip("0").rstrip(".")


_TYPES = {
    "string": _text,
    "time": _text,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "as": _as,
    "protocol": _either,
    "port": _either,
    "address": _address,
    "network": _network,
    "duration": _duration,
}
