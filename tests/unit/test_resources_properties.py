"""Whatever a pillar holds is written as it is meant or refused by the name of the field; nothing else."""

import calico_felix
import calico_forms as forms
import calico_kinds
import calico_resources as resources
import calico_secrets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CASES = [
    (what, generation, kinds[generation])
    for what, kinds in calico_kinds.DECLARED.items()
    for generation in ("v1", "v3")
]
EACH_KIND = pytest.mark.parametrize(
    ("what", "generation", "kind"), CASES, ids=["-".join(case[:2]) for case in CASES]
)
MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=12),
    st.sampled_from(
        ["", " ", "none", "²", "1_0", "10.0.0.0/8", "10.0.0.1", "1m", "all()", "default", "-1", "\n"]
    ),
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.one_of(
                st.text(max_size=6),
                st.integers(),
                st.sampled_from(["cidr", "enabled", "mode", "name", "key", "port", "secretKeyRef"]),
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)


def words_of(what, generation, kind):
    known = [*calico_kinds.KINDS[generation, kind].by_word, "labels"]
    if what == "felix":
        known += [row.name for row in calico_felix.ROWS]
    return st.one_of(st.sampled_from(known), st.sampled_from(known), st.text(max_size=8), st.integers())


def right_type(form, value):
    """Whether what would be written for a field is of a type that its API can hold."""
    if isinstance(form, forms.Raw):
        return isinstance(value, str)
    kinds = {
        forms.Boolean: bool,
        forms.Number: int,
        forms.AsNumber: int,
        forms.SwitchAndMode: dict,
        forms.PortRange: (int, str),
        forms.ListOf: list,
        forms.Mapping: dict,
        forms.Pairs: dict,
        forms.Structure: (dict, list),
    }
    expected = next((kind for base, kind in kinds.items() if isinstance(form, base)), str)
    return isinstance(value, expected) and not (isinstance(value, bool) and expected is not bool)


@EACH_KIND
@MANY
@given(data=st.data())
def test_any_words_are_written_in_the_right_type_or_refused_by_field(what, generation, kind, data):
    words = data.draw(st.dictionaries(words_of(what, generation, kind), anything, max_size=4))
    try:
        resource = resources.describe(what, words, generation)
    except resources.Problems as err:
        assert err.problems
        assert {item["setting"] for item in err.problems} <= set(map(str, words))
        return
    found = resources.problems(resource, generation)
    for item in found:
        assert item["accepted"]
        assert str(item["setting"])
    refused = {str(item["setting"]) for item in found}
    for field in calico_kinds.KINDS[generation, kind].fields:
        written = calico_kinds.at(resource, field.path)
        assert field.word in refused or written is None or right_type(field.form, written), field.word
    for name, label in (resource["metadata"].get("labels") or {}).items() if "labels" not in refused else ():
        assert label is None or isinstance(label, str) or any(r.startswith(f"labels.{name}") for r in refused)
    calico_secrets.shown(resource)
    if not found:
        twice(resource, generation)


# No field holds one of these, but those whose values are structures themselves.
NONSENSE = st.sampled_from([{"x": {"y": 1}}, [{"z": 1}], [[1]], float("inf"), -1.5, "no such value!"])


@EACH_KIND
@MANY
@given(data=st.data())
def test_one_bad_value_among_good_ones_is_refused_by_the_name_of_its_field(what, generation, kind, data):
    words = data.draw(good_words(what, generation, kind))
    table = calico_kinds.KINDS[generation, kind]
    fields = [f for f in table.fields if f.word != "scope" and type(f.form) is not forms.Structure]
    field = data.draw(st.sampled_from(fields))
    plain = field.form.form if isinstance(field.form, forms.Raw) else field.form
    takes_numbers = isinstance(plain, forms.FreeText)
    takes_text = isinstance(plain, forms.Text) and not isinstance(plain, (forms.Selector, forms.Name))
    bad = data.draw(NONSENSE)
    if isinstance(bad, float) and takes_numbers:
        bad = [bad]
    if isinstance(bad, str) and (takes_text or getattr(plain, "form", None).__class__ is forms.Text):
        bad = {bad: bad}
    words = {**words, field.word: bad}
    try:
        found = resources.problems(resources.describe(what, words, generation), generation)
    except resources.Problems as err:
        found = err.problems
    assert field.word in {item["setting"] for item in found}, (words, found)


@EACH_KIND
@MANY
@given(data=st.data())
def test_any_resource_is_checked_without_stumbling(what, generation, kind, data):
    fields = calico_kinds.KINDS[generation, kind].fields
    resource = calico_kinds.skeleton(calico_kinds.KINDS[generation, kind], generation)
    for field in data.draw(st.lists(st.sampled_from(fields), max_size=4, unique=True)):
        calico_kinds.put(resource, field.path, data.draw(anything))
    for top in ("metadata", "spec"):
        if data.draw(st.integers(0, 5)) == 0:
            resource[top] = data.draw(anything)
    for item in data.draw(st.lists(st.sampled_from(["apiVersion", "kind", "more"]), max_size=1)):
        resource[item] = data.draw(anything)
    found = resources.resource_problems(resource, generation)
    assert all(isinstance(item["setting"], str) and item["accepted"] for item in found)
    calico_secrets.shown(resource)
    if found:
        return
    for field in fields:
        raw = calico_kinds.at(resource, field.path)
        if resource["kind"] == kind and raw is not None and not (field.empty and raw == ""):
            assert right_type(field.form, field.form.write(raw)), field.word
    twice(resource, generation)


def twice(wanted, generation):
    """Written once, nothing is left to be written, whatever the datastore adds meanwhile."""
    merged, changes = resources.merge(None, wanted, generation)
    again, left = resources.merge(merged, wanted, generation)
    assert left == {}, (changes, left)
    merged["metadata"].update(uid="x", creationTimestamp="now", resourceVersion="7")
    merged["spec"]["foreign"] = {"kept": [1]}
    again, left = resources.merge(merged, wanted, generation)
    assert left == {}
    assert again["spec"]["foreign"] == {"kept": [1]}
    assert again["metadata"]["resourceVersion"] == "7"
    assert resources.find([merged], wanted, generation) is merged


# Good words ------------------------------------------------------------------------------------

addresses = st.ip_addresses().map(str)
networks = st.builds(
    lambda address, length: str(forms.network_of(f"{address}/{length}")),
    st.ip_addresses(v=4),
    st.integers(8, 24),
)
names = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
durations = st.one_of(
    st.integers(0, 10**6),
    st.integers(0, 10**4).map(str),
    st.integers(0, 5000).map("{}s".format),
    st.tuples(st.integers(0, 90), st.integers(0, 90)).map("{0[0]}m{0[1]}s".format),
    st.integers(1, 5000).map("{}ms".format),
)


def any_case(words):
    return st.sampled_from(words).flatmap(lambda w: st.sampled_from([w, w.lower(), w.upper()]))


def good(form):
    """Values of the pillar that the form must take."""
    if isinstance(form, forms.Raw):
        return good(form.form)
    if isinstance(form, forms.ListOf):
        return st.lists(good(form.form), max_size=3).filter(len)
    if isinstance(form, forms.LogLevel):
        return any_case(sorted(form.written))
    if isinstance(form, forms.Words):
        return any_case(form.words)
    if isinstance(form, forms.Mark):
        return st.sampled_from([0xFF000000, "0xffff0000", 0xFFFFFFFF])
    if isinstance(form, forms.Number):
        number = st.integers(form.low if form.low is not None else 0, form.high or 10**6)
        return st.one_of(number, number.map(str))
    if isinstance(form, forms.Matching):
        return st.from_regex(form.pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))
    if isinstance(form, forms.OneOf):
        return st.sampled_from(form.words)
    if isinstance(form, forms.HostPort):
        return good_port(form.networks)
    if isinstance(form, forms.Mapping):
        return st.fixed_dictionaries({key: good(part) for key, part in form.required.items()})
    return {
        forms.Flag: st.sampled_from([True, False, "true", "no", "1", 0]),
        forms.Boolean: st.booleans(),
        forms.Text: names,
        forms.Community: st.sampled_from(["64512:120", "0:65535", "4200000000:1:2"]),
        forms.FreeText: names,
        forms.Regex: st.sampled_from(["^(en|eth).*", "br-.*", "a{2,3}"]),
        forms.Interfaces: st.sampled_from(["kube-ipvs0", "kube-ipvs0,/^vmbr[0-9]+$/"]),
        forms.InterfacePrefixes: st.sampled_from(["cali", "cali,tap"]),
        forms.AsNumber: st.one_of(
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1).map(str),
            st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map("{0[0]}.{0[1]}".format),
        ),
        forms.Address: st.ip_addresses(v=getattr(form, "version", None)).map(str),
        forms.AddressAndPort: st.one_of(addresses, st.ip_addresses(v=4).map("{}:1790".format)),
        forms.AddressOrNetwork: st.one_of(networks, addresses),
        forms.Selector: st.sampled_from(["all()", 'a == "b"', "a=='b'&&!has(c)", "a in {'x','y'}"]),
        forms.Name: names,
        forms.ConfigurationName: st.one_of(st.just("default"), names.map("node.{}".format)),
        forms.Network: networks,
        forms.Encapsulation: any_case(["never", "always", "crossSubnet", "cross-subnet", "off"]),
        forms.SwitchAndMode: any_case(["never", "always", "cross-subnet"]),
        forms.Duration: durations,
        forms.PortRange: st.one_of(st.integers(1, 65535), st.just("30000:32767")),
        forms.Pairs: st.dictionaries(names, names, min_size=1, max_size=2),
        forms.Structure: st.just([{"min": 1, "max": 250}]),
    }[type(form)]


def good_port(with_networks):
    port = st.integers(1, 65535)
    plain = port.map("udp:{}".format) | st.fixed_dictionaries({"protocol": st.just("tcp"), "port": port})
    return plain | st.builds("tcp:{}:{}".format, networks, port) if with_networks else plain


def good_words(what, generation, kind):
    """Words that can stand together."""
    table = calico_kinds.KINDS[generation, kind]
    words = {field.word: good(field.form) for field in table.fields if field.word != "scope"}
    if what in ("bgp", "felix"):
        words["name"] = good(forms.ConfigurationName())
    required = {"pool": ["cidr"], "peer": ["peer_ip", "as_number"], "node": ["name"]}.get(what, [])
    for alone in ("name", "peer_selector", "node_selector", "vxlan", "block_size", "mesh"):
        # Of those that exclude each other, one.
        if alone not in required and what != "felix":
            words.pop(alone, None)
    if what == "node" and generation == "v3":
        words["labels"] = st.dictionaries(names, st.one_of(names, st.integers(0, 9), st.none()), max_size=3)
    first = {word: words.pop(word) for word in required}
    some = st.lists(st.sampled_from(sorted(words)), max_size=6, unique=True)
    return some.flatmap(
        lambda chosen: st.fixed_dictionaries({**first, **{word: words[word] for word in chosen}})
    )


@EACH_KIND
@MANY
@given(data=st.data())
def test_good_words_are_written_once_and_then_differ_from_nothing(what, generation, kind, data):
    words = data.draw(good_words(what, generation, kind))
    wanted = resources.describe(what, words, generation)
    found = resources.problems(wanted, generation)
    # Drawn at random, some networks are link-local or of the wrong family, and some addresses nobody's.
    drawn = {"pool": {"cidr", "ipip"}, "peer": {"peer_ip", "as_number"}}
    assert {item["setting"] for item in found} <= drawn.get(what, set()), found
    twice(wanted, generation)
    # Said again in the words that differences are shown in, it is the same.
    shown = resources.values(wanted, generation)
    known = calico_kinds.KINDS[generation, kind].by_word
    shown = {word: shown[word] for word in shown if word in known and word != "scope"}
    if "labels" in words:
        shown["labels"] = words["labels"]
    written = resources.merge(None, wanted, generation)[0]
    assert resources.diff(written, resources.describe(what, shown, generation), generation) == {}


@pytest.mark.parametrize("what", ["bgp", "felix"])
@MANY
@given(data=st.data())
def test_calls_of_calicoctl_config_bring_about_what_was_wanted(what, data):
    kind = calico_kinds.DECLARED[what]["v1"]
    words = data.draw(good_words(what, "v1", kind))
    wanted = resources.describe(what, words, "v1")
    name = wanted["metadata"]["name"]
    node = name[len("node.") :] if name.startswith("node.") else None
    config = {"nodeToNodeMesh": "on", "asNumber": 64512, "logLevel": "info", "felix": {}, "nodes": {}}
    current = resources.find(resources.from_config(config)[kind], wanted, "v1")
    merged, changes = resources.merge(current, wanted, "v1")
    for setting, value, of_node, raw in resources.config_calls(merged, changes):
        assert of_node == node
        assert isinstance(value, str)
        place = config["nodes"].setdefault(node, {"bgp": {}, "felix": {}}) if node else config
        if raw:
            place[raw][setting] = value
        elif node:
            place["bgp"]["loglevel"] = value
        else:
            config[setting] = value
    current = resources.find(resources.from_config(config)[kind], wanted, "v1")
    assert current is not None or not wanted["spec"]
    assert current is None or resources.diff(current, wanted, "v1") == {}
