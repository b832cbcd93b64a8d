"""Whatever stands in the pillar: it is accepted, or every problem names its path. Nothing else happens."""

import copy
import ipaddress
import json
import re
import string

import calico_container
import calico_settings
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

# Of fixed effort, so that a run finds what the run before found.
settings.register_profile("fixed", max_examples=150, derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
FULL = {
    "version": "v2.6.2",
    "etcd": {
        "endpoints": ["https://10.0.0.1:2379"],
        "tls": {"ca": PEM, "cert": "salt://pki/c.pem", "key": "/pki/k.pem"},
    },
    "network": {
        "pools": [
            {"cidr": "172.20.0.0/16", "ipip": "never", "nat_outgoing": True, "disabled": False},
            {"cidr": "fd00::/64"},
        ]
    },
    "node": {"ip": "10.0.0.1/24", "ip6": "fd00::1/64", "as_number": 64512},
    "felix": {"IpInIpMtu": 1400, "LogPrefix": "x"},
    "env": {"A": "b", "A_TOKEN": "t"},
    "mounts": ["/a:/b:ro"],
    "cni": {"plugins": {"source": "salt://p.tgz", "source_hash": "sha256=" + "0" * 64}},
    "ready": {"absent_nodes": ["node9"]},
}


def paths(value, here=()):
    """Every place in the pillar, sections and list items included."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*here, key))


KNOWN = [tuple(row[0].split(":")) for row in calico_settings.SETTINGS]
POOL_KEYS = [("network", "pools", 0, row[0]) for row in calico_settings.POOL_SETTINGS]
PLACES = sorted({*paths(FULL), *KNOWN, *POOL_KEYS, ("felix", "x"), ("env", "X"), ("new",)}, key=str)


def with_value(path, value):
    """The full pillar with one place set."""
    if not path:
        return value
    pillar = copy.deepcopy(FULL)
    branch = pillar
    for part in path[:-1]:
        branch = branch.setdefault(part, {}) if isinstance(branch, dict) else branch[part]
    branch[path[-1]] = value
    return pillar


NASTY = st.sampled_from(
    [
        "'", '"', "%i", "$HOME", "\\", ";", "größe", "{{ 7 }}", "\n", "a\nb", "a\r", "\x00", "\x85", "\u2028",
        "", " ", "-----BEGIN X", "10.0.0.1%eth0", "fe80::1%eth0", "fe80::1%a\nb", "10.0.0.0/16\n", "v2.6.2\n",
        "v２.6.2", "٣", "1.2\n", "salt://", "salt://a b", "/a:/b\n", "https://a:1\n", "1e9", "0x10", "off",
    ]
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    NASTY,
    st.binary(max_size=5),
    st.dates(),
    st.from_regex(r"[0-9./:a-fv-]{0,20}"),
    st.ip_addresses().map(str),
    st.ip_addresses(network="10.0.0.0/8").map(lambda address: f"{address}/24"),
)
KEYS = st.one_of(
    st.text(max_size=8),
    st.integers(),
    st.none(),
    st.booleans(),
    st.sampled_from([path[-1] for path in KNOWN]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=8,
)


def checked(pillar):
    """(settings, None) or (None, problems); any other exception is what these tests look for."""
    try:
        return calico_settings.check(pillar), None
    except calico_settings.SettingsError as err:
        assert str(err)
        return None, err.problems


@settings(max_examples=1500)
@given(st.sampled_from(PLACES), VALUES)
@example((), None)
@example((), [])
@example(("network", "pools"), [[], 7, None, {"cidr": None}])
@example(("network", "pools", 0, "ipip"), [])
@example(("network", "pools", 0, "ipip"), "")
@example(("network", "pools", 0, "ipip"), {"x": 1})
@example(("felix",), {None: 1, "ipinipmtu": 2, "IpInIpMtu": 3})
@example(("env",), {7: 1})
def test_any_value_anywhere_is_accepted_or_named(path, value):
    pillar = with_value(path, value)
    before = copy.deepcopy(pillar)
    finished, problems = checked(pillar)
    assert repr(pillar) == repr(before)
    if problems is None:
        # Accepted is only what everything else can be made of.
        assert calico_container.container(finished)
        assert calico_container.cni_configuration(finished)
        assert calico_container.calicoctl_configuration(finished)
        assert calico_settings.masked(finished)
        return
    assert problems
    for problem in problems:
        assert re.match(r"calico(:|$)", problem["setting"])
        assert problem["accepted"]
        assert isinstance(problem["given"], str)
        assert len(problem["given"]) <= 160


@pytest.mark.parametrize("path", [path for path in PLACES if path and path != ("new",)], ids=str)
@pytest.mark.parametrize("value", ["garbage\n", {"x": 1}, [["x"]]], ids=["text", "mapping", "list"])
def test_what_fits_nowhere_is_named_by_its_own_path(path, value):
    problems = checked(with_value(path, value))[1]
    full = ":".join(["calico", *map(str, path)])
    assert any(
        problem["setting"].startswith(full) or full.startswith(problem["setting"])
        for problem in problems or ()
    ) or (path == ("env",) and value == {"x": 1})


SECRET = "geheim" * 3
PRIVATE = "PRIVATE KEY-----"
SECRETS = [
    ("env", "ETCD_PASSWORD"),
    ("env", "K8S_TOKEN"),
    ("felix", "TyphaSecret"),
    ("etcd", "tls", "key"),
]


def wrapped(secret):
    """The secret as it should be, and as a mistake in the pillar would have it."""
    pem = f"-----BEGIN {PRIVATE}\n{secret}\n-----END {PRIVATE}\n"
    return [
        secret + "\n",
        pem,
        [pem],
        {"pem": pem},
        {"ETCD_PASSWORD": secret},
        [{"ETCD_PASSWORD": secret}],
        [{"token": [secret]}],
        pem.encode(),
        [pem, {"password": secret}],
    ]


@pytest.mark.parametrize("path", [*SECRETS, *PLACES], ids=str)
def test_no_secret_shows_in_a_problem(path):
    for value in wrapped(SECRET):
        named = path in SECRETS
        # By its place or its shape alone: a bare word in a place for plain text is no secret.
        if value == SECRET + "\n" and not named:
            continue
        problems = checked(with_value(path, value))[1]
        assert SECRET not in json.dumps(problems), value


@given(st.sampled_from(SECRETS), VALUES)
def test_no_secret_shows_in_masked_settings(path, value):
    for secret in wrapped(SECRET):
        finished = checked(with_value(path, secret))[0]
        if finished and path[-1] != "TyphaSecret":
            assert SECRET not in repr(calico_settings.masked(finished))


def accepted_pillars():
    name = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=10).map("X_".__add__)
    line = st.text(max_size=30).filter(lambda text: not re.search("[\x00\n\r]", text))
    scalar = st.one_of(line, st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
    felix = st.dictionaries(st.sampled_from(["IpInIpMtu", "LogPrefix", "HealthPort"]), scalar)
    return st.builds(
        lambda env, felix, mtu, timeout, ip: dict(
            FULL,
            env=env,
            felix=felix,
            cni={"mtu": mtu},
            ready={"timeout": timeout},
            node={"ip": ip},
        ),
        st.dictionaries(name, scalar, max_size=4),
        felix,
        st.integers(576, 65535),
        st.integers(1, 3600),
        st.ip_addresses(v=4)
        .filter(lambda ip: not (ip.is_unspecified or ip.is_multicast))
        .map(lambda ip: f"{ip}/24"),
    )


@given(accepted_pillars())
def test_accepted_settings_are_the_same_after_json_and_yaml(pillar):
    finished = calico_settings.check(pillar)
    assert json.loads(json.dumps(finished)) == finished
    assert calico_settings.check(json.loads(json.dumps(pillar))) == finished
    assert yaml.safe_load(yaml.safe_dump(finished)) == finished


@given(accepted_pillars())
def test_finished_settings_are_accepted_as_they_are(pillar):
    finished = calico_settings.check(pillar)
    again = {key: value for key, value in finished.items() if key != "generation"}
    assert calico_settings.check(again) == finished


def read_env_file(text):
    """
    The lines of an environment file as docker 20.10 reads them (opts/file.go, bufio.ScanLines).

    Blanks before a name go, lines of blanks and comments are left out, and the value is what follows
    the first '=', as it is.
    """
    result = {}
    for line in text.encode().split(b"\n"):
        line = line.removesuffix(b"\r").decode().lstrip(" \t")
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            assert name
            assert not re.search(r"\s", name)
            result[name] = value
    return result


@given(accepted_pillars())
def test_every_accepted_value_arrives_in_the_container_as_it_is(pillar):
    wanted = calico_container.environment(calico_settings.check(pillar))
    text = "".join(f"{name}={value}\n" for name, value in wanted.items())
    assert read_env_file("# Managed by Salt (calico).\n" + text) == wanted


@settings(max_examples=1000)
@given(st.sampled_from([path for path in PLACES if path]), VALUES)
@example(("node", "ip6"), "fe80::1%a\nNODENAME=evil")
def test_no_setting_adds_a_line_to_the_environment_file(path, value):
    finished = checked(with_value(path, value))[0]
    if finished:
        wanted = calico_container.environment(finished)
        text = "".join(f"{name}={value}\n" for name, value in wanted.items())
        assert read_env_file(text) == wanted


@settings(max_examples=1000)
@given(st.sampled_from([path for path in PLACES if path]), VALUES)
@example(("version",), "v２.6.2")
@example(("image",), "calico/node\n")
@example(("etcd", "endpoints", 0), "https://10.0.0.1:２")
def test_the_unit_gets_plain_characters_only(path, value):
    finished = checked(with_value(path, value))[0]
    if finished:
        container = calico_container.container(finished, "digest")
        for word in (
            container["image"],
            container["name"],
            *container["mounts"],
            *container["labels"].values(),
        ):
            assert re.fullmatch(r"[A-Za-z0-9._/@+=,:-]+", word), word
        assert all(endpoint.isascii() for endpoint in finished["etcd"]["endpoints"])


@given(st.one_of(VALUES, st.ip_addresses(v=4).map(str), NASTY))
def test_an_accepted_address_is_one(value):
    finished = checked(with_value(("node", "ip"), value))[0]
    if finished and finished["node"]["ip"] not in ("", "autodetect"):
        address, _, prefix = finished["node"]["ip"].partition("/")
        assert ipaddress.IPv4Address(address)
        assert re.fullmatch(r"\d{0,2}", prefix)
