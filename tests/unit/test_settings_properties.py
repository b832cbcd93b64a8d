"""Whatever stands in the pillar: it is accepted, or every problem names its path. Nothing else happens."""

import copy
import ipaddress
import json
import re
import string

import calico_container
import calico_felix
import calico_forms
import calico_schema
import calico_secrets
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


FULL3 = {
    "version": "v3.32.1",
    "etcd": FULL["etcd"],
    "network": {
        "pools": [
            {
                "cidr": "172.20.0.0/16",
                "name": "main",
                "vxlan": "crosssubnet",
                "block_size": 26,
                "node_selector": 'rack == "1"',
                "allowed_uses": ["Workload", "Tunnel"],
                "disable_bgp_export": False,
                "assignment_mode": "Automatic",
                "namespace_selector": "all()",
            },
            {"cidr": "fd00::/64"},
        ],
        "peers": [
            {"peer_ip": "10.0.0.254", "as_number": 64513},
            {"name": "rr", "node_selector": "all()", "peer_selector": "has(rr)", "keepalive_time": "30s"},
        ],
        "mesh": True,
        "as_number": "1.10",
        "bgp": {
            "log_level": "info",
            "listen_port": 180,
            "service_cluster_ips": ["10.96.0.0/12"],
            "communities": [{"name": "one", "value": "64512:1"}],
            "prefix_advertisements": [{"cidr": "172.20.0.0/16", "communities": ["one"]}],
        },
        "felix": {"wireguardEnabled": False, "LogSeverityScreen": "Info", "iptablesRefreshInterval": "90s"},
        "resources": [
            {
                "apiVersion": "projectcalico.org/v3",
                "kind": "GlobalNetworkSet",
                "metadata": {"name": "trusted", "labels": {"trusted": "yes"}},
                "spec": {"nets": ["10.0.0.0/8"]},
            }
        ],
        "prune": False,
        "allow": ["last_pool"],
        "managed_by": "*",
    },
    "node": {
        "name": "node1",
        "ip": "10.0.0.1/24",
        "ip_autodetection_method": "cidr=10.0.0.0/8",
        "labels": {"rack": "1", "gone": None},
        "route_reflector_cluster_id": "244.0.0.1",
        "backend": "bird",
    },
    "felix": {"VXLANMTU": 1400, "LogPrefix": "x"},
    "env": {"A": "b", "A_TOKEN": "t"},
    "mounts": ["/a:/b:ro"],
    "cni": {"mtu": 0, "plugins": {"source": "salt://p.tgz", "source_hash": "sha256=" + "0" * 64}},
    "ready": {"absent_nodes": ["node9"]},
}
BASES = {"2.6": FULL, "3.x": FULL3}


def paths(value, here=()):
    """Every place in the pillar, sections and list items included."""
    yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*here, key))


KNOWN = [tuple(row.path.split(":")) for row in calico_schema.SETTINGS]
POOL_KEYS = [("network", "pools", 0, row.path) for row in calico_schema.POOL_SETTINGS]
OTHERS = {
    *(("network", "peers", 0, row.path) for row in calico_schema.PEER_SETTINGS),
    *(("network", "bgp", row.path) for row in calico_schema.BGP_SETTINGS),
    ("network", "felix", "x"),
    ("network", "resources", 0, "x"),
    ("node", "labels", "x"),
}
COMMON = {*KNOWN, *POOL_KEYS, ("felix", "x"), ("env", "X"), ("new",)}
PLACES = sorted(
    [("2.6", *path) for path in {*paths(FULL), *COMMON}]
    + [("3.x", *path) for path in {*paths(FULL3), *COMMON, *OTHERS}],
    key=str,
)


def with_value(path, value):
    """The full pillar of a generation (the path's first part) with one place set."""
    generation, *path = path
    if not path:
        return value
    pillar = copy.deepcopy(BASES[generation])
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
@example(("2.6",), None)
@example(("2.6",), [])
@example(("2.6", "network", "pools"), [[], 7, None, {"cidr": None}])
@example(("2.6", "network", "pools", 0, "ipip"), [])
@example(("2.6", "network", "pools", 0, "ipip"), "")
@example(("2.6", "network", "pools", 0, "ipip"), {"x": 1})
@example(
    (
        "2.6",
        "felix",
    ),
    {None: 1, "ipinipmtu": 2, "IpInIpMtu": 3},
)
@example(
    (
        "2.6",
        "env",
    ),
    {7: 1},
)
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
        assert calico_secrets.shown(finished)
        return
    assert problems
    for problem in problems:
        assert re.match(r"calico(:|$)", problem["setting"])
        assert problem["accepted"]
        assert isinstance(problem["given"], str)
        assert len(problem["given"]) <= 160


# Places for any text, or what only the datastore itself judges.
FREE = [
    ("3.x", "network", "bgp", "communities", 0, "name"),
    ("3.x", "network", "bgp", "communities", 0, "value"),
    ("3.x", "network", "bgp", "prefix_advertisements", 0, "communities", 0),
    ("3.x", "network", "peers", 0, "node"),
    ("3.x", "network", "resources", 0, "kind"),
    ("3.x", "network", "resources", 0, "metadata", "name"),
]


@pytest.mark.parametrize(
    "path",
    [path for path in PLACES if path[1:] not in ((), ("new",)) and path not in FREE and "spec" not in path],
    ids=str,
)
@pytest.mark.parametrize("value", ["garbage\n", {"x": 1}, [["x"]]], ids=["text", "mapping", "list"])
def test_what_fits_nowhere_is_named_by_its_own_path(path, value):
    problems = checked(with_value(path, value))[1]
    full = ":".join(["calico", *map(str, path[1:])])
    assert any(
        problem["setting"].startswith(full) or full.startswith(problem["setting"])
        for problem in problems or ()
    ) or (path[1:] == ("env",) and value == {"x": 1})


SECRET = "geheim" * 3
PRIVATE = "PRIVATE KEY-----"
SECRETS = [
    ("2.6", "env", "ETCD_PASSWORD"),
    ("3.x", "env", "K8S_TOKEN"),
    ("2.6", "felix", "TyphaSecret"),
    ("3.x", "etcd", "tls", "key"),
    ("3.x", "network", "peers", 0, "password"),
    ("3.x", "network", "bgp", "node_mesh_password"),
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
            assert SECRET not in repr(calico_secrets.shown(finished))


LINE = st.text(max_size=30).filter(lambda text: not re.search("[\x00\n\r]", text))
PLAIN = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
LABEL = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9._]{0,10}[A-Za-z0-9])?", fullmatch=True)
SELECTOR = st.one_of(
    st.sampled_from(["all()", "global()", "!has(gone)"]),
    PLAIN.map(lambda label: f"has({label})"),
    st.tuples(PLAIN, LABEL).map(lambda pair: '%s == "%s"' % pair),
)
NUMBER = st.integers(1, 4294967295)
AS_NUMBER = st.one_of(NUMBER, NUMBER.map(str), NUMBER.map(lambda one: "%d.%d" % divmod(one, 65536)))
ADDRESS = st.ip_addresses(v=4, network="10.0.0.0/8").filter(lambda ip: int(ip) % 256).map(str)
MODE = st.sampled_from(["never", "always", "crosssubnet", "Always", "CrossSubnet"])


def of_form(form):
    """Values that Felix takes for a form, in its environment; None where any text is one."""
    if isinstance(form, calico_forms.Words):
        words = form.accepted.removesuffix(" (in any case)").split(" or ")
        return st.sampled_from([*words, *(word.lower() for word in words)])
    if isinstance(form, calico_forms.Duration):
        return st.integers(1, 3600)
    if isinstance(form, calico_forms.Flag):
        return st.sampled_from([True, False, "true", "no", 1])
    if isinstance(form, calico_forms.Number) and not isinstance(form, calico_forms.Mark):
        return st.integers(form.low or 0, form.high or 60000)
    return None


def felix_settings(minor, name):
    """Settings of Felix that a release has; ``name`` says by what name."""
    release = (2, 6) if minor is None else (3, minor)
    values = {
        name(row): of_form(row.form_of(*release))
        for row in calico_felix.ROWS
        if row.known(*release) and name(row) and row.name != "DatastoreType"
    }
    names = sorted(name for name in values if values[name] is not None)
    return st.sets(st.sampled_from(names), max_size=4).flatmap(
        lambda chosen: st.fixed_dictionaries({name: values[name] for name in sorted(chosen)})
    )


def known(rows, minor, **strategies):
    """Of strategies for words those that a release has."""
    release = (2, 6) if minor is None else (3, minor)
    words = {row.path for row in rows if row.known(*release)}
    strategies = {word: strategy for word, strategy in strategies.items() if word in words}
    return st.fixed_dictionaries({}, optional=strategies)


@st.composite
def accepted_pillars(draw):
    """Any pillar that is right, of any release."""
    minor = draw(st.sampled_from([None, *range(33)]))
    third = minor is not None
    pools = []
    for number in draw(st.sets(st.integers(0, 200), min_size=1, max_size=4)):
        words = known(
            calico_schema.POOL_SETTINGS,
            minor,
            name=PLAIN.map(lambda name, number=number: f"{name}{number}"),
            nat_outgoing=st.booleans(),
            disabled=st.booleans(),
            block_size=st.integers(20, 32),
            node_selector=SELECTOR,
            allowed_uses=st.lists(st.sampled_from(["Workload", "Tunnel"]), min_size=1, unique=True),
            disable_bgp_export=st.booleans(),
            assignment_mode=st.sampled_from(["Automatic", "manual"]),
            namespace_selector=SELECTOR,
        )
        wraps = draw(st.sampled_from(["ipip", "vxlan"] if third and minor >= 7 else ["ipip"]))
        pools.append({"cidr": f"10.{number}.0.0/16", wraps: draw(MODE), **draw(words)})
    peers = [
        {"peer_ip": address, "as_number": draw(AS_NUMBER)} for address in draw(st.sets(ADDRESS, max_size=3))
    ]
    if third and minor >= 3:
        peers.append({"name": "selected", "node_selector": draw(SELECTOR), "peer_selector": draw(SELECTOR)})
    bgp = known(
        calico_schema.BGP_SETTINGS,
        minor,
        log_level=st.sampled_from(["debug", "info", "Warning", "error"]),
        listen_port=st.integers(1, 65535),
        service_cluster_ips=st.just(["10.96.0.0/12"]),
        bind_mode=st.sampled_from(["None", "NodeIP"]),
        ignored_interfaces=st.lists(PLAIN, max_size=2),
    )
    network = {
        "pools": pools,
        "peers": peers,
        "bgp": draw(bgp),
        "felix": draw(felix_settings(minor, lambda row: row.field if third else row.name)),
        **draw(st.fixed_dictionaries({}, optional={"mesh": st.booleans(), "as_number": AS_NUMBER})),
    }
    node = {"ip": draw(ADDRESS) + "/24"}
    if third:
        node["labels"] = draw(st.dictionaries(LABEL, st.one_of(st.none(), LABEL, st.just("")), max_size=3))
    scalar = st.one_of(LINE, st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
    name = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=10).map("X_".__add__)
    return {
        "version": "v2.6.12" if minor is None else f"v3.{minor}.0",
        "etcd": FULL["etcd"],
        "network": network,
        "node": node,
        "felix": {**draw(felix_settings(minor, lambda row: row.name)), "LogPrefix": draw(LINE)},
        "env": draw(st.dictionaries(name, scalar, max_size=4)),
        "cni": {"mtu": draw(st.integers(576, 65535))},
        "ready": {"timeout": draw(st.integers(1, 3600))},
    }


@given(accepted_pillars())
def test_accepted_settings_are_the_same_after_json_and_yaml(pillar):
    finished = calico_settings.check(pillar)
    assert json.loads(json.dumps(finished)) == finished
    assert calico_settings.check(json.loads(json.dumps(pillar))) == finished
    assert yaml.safe_load(yaml.safe_dump(finished)) == finished


@given(accepted_pillars())
def test_finished_settings_are_accepted_as_they_are(pillar):
    finished = calico_settings.check(pillar)
    again = {key: value for key, value in finished.items() if key not in ("generation", "major", "minor")}
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
@given(st.sampled_from([path for path in PLACES if path[1:]]), VALUES)
@example(("2.6", "node", "ip6"), "fe80::1%a\nNODENAME=evil")
def test_no_setting_adds_a_line_to_the_environment_file(path, value):
    finished = checked(with_value(path, value))[0]
    if finished:
        wanted = calico_container.environment(finished)
        text = "".join(f"{name}={value}\n" for name, value in wanted.items())
        assert read_env_file(text) == wanted


@settings(max_examples=1000)
@given(st.sampled_from([path for path in PLACES if path[1:]]), VALUES)
@example(
    (
        "2.6",
        "version",
    ),
    "v２.6.2",
)
@example(
    (
        "2.6",
        "image",
    ),
    "calico/node\n",
)
@example(("2.6", "etcd", "endpoints", 0), "https://10.0.0.1:２")
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
    finished = checked(with_value(("2.6", "node", "ip"), value))[0]
    if finished and finished["node"]["ip"] not in ("", "autodetect"):
        address, _, prefix = finished["node"]["ip"].partition("/")
        assert ipaddress.IPv4Address(address)
        assert re.fullmatch(r"\d{0,2}", prefix)
