"""What it takes to bring declared resources about: steps, differences, and what is refused by itself."""

import calico_plan as plan
import calico_resources
import calico_topology as topology
import pytest

CIDR = "172.20.0.0/16"


def v3(kind, name, labels=None, version="7", **spec):
    metadata = {"name": name, "resourceVersion": version}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}


def pool_v1(cidr=CIDR, **spec):
    return {"apiVersion": "v1", "kind": "ipPool", "metadata": {"cidr": cidr}, "spec": spec}


def peer_v1(address, node=None, as_number=64900):
    metadata = {"scope": "node" if node else "global", "peerIP": address}
    if node:
        metadata["node"] = node
    return {"apiVersion": "v1", "kind": "bgpPeer", "metadata": metadata, "spec": {"asNumber": as_number}}


def v1(**resources):
    cluster = topology.from_v2({})
    cluster.resources.update(resources)
    return cluster


def actions(found):
    return [(step.action, step.name) for step in found]


# Steps -------------------------------------------------------------------------------------------


def test_what_is_there_and_equal_needs_no_step():
    cluster = topology.from_v3([v3("IPPool", "172-20-0-0-16", cidr=CIDR, natOutgoing=True, blockSize=26)])
    wanted = {"cidr": CIDR, "ipip": "never", "nat_outgoing": True, "disabled": False}
    assert plan.steps(cluster, "pool", [wanted]) == []
    cluster = v1(ipPool=[pool_v1(**{"nat-outgoing": True})])
    assert plan.steps(cluster, "pool", [wanted]) == []


def test_a_new_resource_is_created_with_all_that_was_said():
    (step,) = plan.steps(topology.from_v3([]), "pool", [{"cidr": CIDR, "nat_outgoing": True}])
    assert (step.action, step.name, step.current) == ("create", CIDR, None)
    assert step.resource["spec"] == {"cidr": CIDR, "natOutgoing": True}
    assert step.changes["nat_outgoing"] == {"old": None, "new": True}


def test_an_update_keeps_what_others_set_and_carries_the_version_that_was_read():
    there = v3("IPPool", "theirs", {"by": "somebody"}, cidr=CIDR, nodeSelector="has(x)", natOutgoing=True)
    (step,) = plan.steps(topology.from_v3([there]), "pool", [{"cidr": CIDR, "nat_outgoing": False}])
    assert step.action == "update"
    assert step.resource["metadata"] == there["metadata"]
    assert step.resource["spec"] == {"cidr": CIDR, "nodeSelector": "has(x)", "natOutgoing": False}
    assert step.changes == {"nat_outgoing": {"old": True, "new": False}}
    assert there["spec"]["natOutgoing"] is True, "what was read is not changed"


@pytest.mark.parametrize("generation", ["v1", "v3"])
def test_prune_removes_what_is_not_wanted_and_nothing_else(generation):
    other = "10.9.0.0/16"
    if generation == "v1":
        cluster = v1(ipPool=[pool_v1(), pool_v1(other)], bgpPeer=[peer_v1("10.0.0.9")])
    else:
        kept, gone = v3("IPPool", "a", cidr=CIDR), v3("IPPool", "b", cidr=other)
        cluster = topology.from_v3([kept, gone, v3("BGPPeer", "p", peerIP="10.0.0.9", asNumber=64900)])
    assert plan.steps(cluster, "pool", [{"cidr": CIDR}]) == []
    assert actions(plan.steps(cluster, "pool", [{"cidr": CIDR}], prune=True)) == [("delete", other)]
    assert actions(plan.steps(cluster, "peer", prune=True)) in ([("delete", "10.0.0.9")], [("delete", "p")])


def test_a_pool_with_another_block_size_is_made_anew_only_where_that_is_allowed():
    cluster = topology.from_v3([v3("IPPool", "pool", cidr=CIDR, blockSize=26)])
    wanted = [{"cidr": CIDR, "block_size": 28}]
    (step,) = plan.steps(cluster, "pool", wanted)
    assert (step.action, step.changes) == ("update", {"block_size": {"old": 26, "new": 28}})
    assert [item["allow"] for item in plan.plan(cluster, [step]).refused] == ["pool_recreate"]
    (step,) = plan.steps(cluster, "pool", wanted, allow=["pool_recreate"])
    assert (step.action, step.resource["spec"]["blockSize"]) == ("recreate", 28)
    assert "resourceVersion" not in step.resource["metadata"], "there is none yet to write over"
    assert plan.plan(cluster, [step], allow=["pool_recreate"]).refused == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ({"peer_ip": "10.0.0.9", "as_number": 64900}, []),
        ({"peer_ip": "10.0.0.9", "as_number": 64901}, [("update", "theirs")]),
        ({"peer_ip": "10.0.0.8", "as_number": 64900}, [("create", "global-10-0-0-8")]),
        ({"name": "mine", "peer_ip": "10.0.0.9", "as_number": 64900}, [("create", "mine")]),
    ],
)
def test_a_peer_without_a_name_is_the_one_that_connects_the_same(words, found):
    cluster = topology.from_v3([v3("BGPPeer", "theirs", peerIP="10.0.0.9", asNumber=64900)])
    assert actions(plan.steps(cluster, "peer", [words])) == found


def test_a_peer_that_is_kept_under_another_name_is_not_pruned():
    cluster = topology.from_v3([v3("BGPPeer", "theirs", peerIP="10.0.0.9", asNumber=64900)])
    assert plan.steps(cluster, "peer", [{"peer_ip": "10.0.0.9", "as_number": 64900}], prune=True) == []


def test_peers_of_2_6_go_by_their_ends():
    cluster = v1(bgpPeer=[peer_v1("10.0.0.9"), peer_v1("10.0.0.9", "node1")])
    wanted = [{"peer_ip": "10.0.0.9", "node": "node1", "as_number": 64901}]
    assert actions(plan.steps(cluster, "peer", wanted, prune=True)) == [
        ("update", "node1 10.0.0.9"),
        ("delete", "10.0.0.9"),
    ]


def test_a_new_peer_of_2_6_is_not_taken_for_another_one():
    cluster = v1(bgpPeer=[peer_v1("10.0.0.9"), peer_v1("10.0.0.9", "node1")])
    (step,) = plan.steps(cluster, "peer", [{"peer_ip": "10.0.0.1", "as_number": 64900}])
    assert (step.action, step.current) == ("create", None)


@pytest.mark.parametrize("generation", ["v1", "v3"])
def test_settings_are_the_same_words_in_both_generations(generation):
    cluster = topology.from_v2({}) if generation == "v1" else topology.from_v3([])
    (step,) = plan.steps(cluster, "bgp", [{"name": "default", "as_number": 64900}])
    assert (step.resource["kind"], step.changes["as_number"]["new"]) == ("BGPConfiguration", 64900)
    (step,) = plan.steps(cluster, "felix", [{"name": "default", "LogSeverityScreen": "warning"}])
    assert step.resource["kind"] == "FelixConfiguration"
    assert "warning" in [str(change["new"]).lower() for change in step.changes.values()]


def test_labels_of_others_stay_and_null_removes_one():
    there = v3("Node", "node1", {"theirs": "1", "rack": "1", "old": "x"}, bgp={"ipv4Address": "10.0.0.1/24"})
    words = {"name": "node1", "labels": {"rack": "2", "old": None}}
    (step,) = plan.steps(topology.from_v3([there]), "node", [words])
    assert step.resource["metadata"]["labels"] == {"theirs": "1", "rack": "2"}
    assert step.resource["spec"] == there["spec"]
    assert set(step.changes) == {"labels.rack", "labels.old"}


def test_secrets_are_masked_in_what_is_shown_and_not_in_what_is_written():
    resource = v3("GlobalNetworkSet", "set", password="geheim")
    found = plan.steps(topology.from_v3([]), "resource", [resource])
    assert "geheim" not in str(plan.Plan(found, []).changes)
    assert found[0].resource["spec"]["password"] == "geheim"


# Absence -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [CIDR, "theirs"])
def test_a_pool_of_calico_3_is_removed_by_network_or_name(given):
    cluster = topology.from_v3([v3("IPPool", "theirs", cidr=CIDR), v3("IPPool", "b", cidr="10.9.0.0/16")])
    assert actions(plan.steps(cluster, "pool", absent=[{"cidr": given}])) == [("delete", CIDR)]


def test_what_is_not_there_is_absent_already():
    assert plan.steps(topology.from_v3([]), "pool", absent=[{"cidr": CIDR}]) == []
    assert plan.steps(v1(), "peer", absent=[{"peer_ip": "10.0.0.9"}]) == []


# What is wrong by itself -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generation", "what", "wanted", "absent", "settings"),
    [
        ("v1", "pool", [{"cidr": "172.20.0.1/16"}], [], ["cidr"]),
        ("v3", "pool", [{"cidr": CIDR, "ipip": "sometimes", "block_size": 7}], [], ["ipip", "block_size"]),
        ("v1", "pool", [{"cidr": CIDR, "vxlan": "always"}], [], ["vxlan"]),
        ("v1", "pool", [], [{"cidr": "garbage"}], ["cidr"]),
        ("v3", "pool", [], [{"cidr": "172.20.0.0./16"}], ["cidr"]),
        ("v1", "peer", [], [{"peer_ip": "10.0.0"}], ["peer_ip"]),
        ("v3", "peer", [{"as_number": 1}], [], ["peer_ip"]),
        ("v3", "bgp", [{"name": "default", "as_number": "many"}], [], ["as_number"]),
        ("v3", "node", [{"name": "node1", "labels": {"rack": ["a"]}}], [], ["labels.rack"]),
        ("v3", "resource", ["text"], [], ["resource"]),
        ("v3", "resource", [{}], [], ["apiVersion", "kind"]),
        ("v1", "resource", [pool_v1("")], [], ["cidr"]),
    ],
)
def test_bad_input_is_named_without_a_look_at_the_datastore(generation, what, wanted, absent, settings):
    with pytest.raises(calico_resources.Problems) as caught:
        plan.check(what, wanted, absent, generation)
    assert [item["setting"] for item in caught.value.problems] == settings


def test_fields_that_are_not_given_may_be_there_already():
    resource = v3("IPPool", "theirs", natOutgoing=True)
    plan.check("resource", [resource], [], "v3")
    cluster = topology.from_v3([v3("IPPool", "theirs", cidr=CIDR)])
    (step,) = plan.steps(cluster, "resource", [resource])
    assert step.resource["spec"] == {"cidr": CIDR, "natOutgoing": True}
    with pytest.raises(calico_resources.Problems, match="cidr"):
        plan.steps(topology.from_v3([]), "resource", [resource])


def test_a_pool_that_keeps_another_name_is_told():
    cluster = topology.from_v3([v3("IPPool", "default-ipv4-ippool", cidr=CIDR)])
    (note,) = plan.notes(cluster, "pool", [{"cidr": CIDR, "name": "rack1"}])
    assert CIDR in note and "default-ipv4-ippool" in note and "rack1" in note
    resource = {**v3("IPPool", "rack1", cidr=CIDR)}
    assert plan.notes(cluster, "resource", [resource]) == [note]
    for quiet in ({"cidr": CIDR}, {"cidr": CIDR, "name": "default-ipv4-ippool"}, {"cidr": "10.9.0.0/16"}):
        assert plan.notes(cluster, "pool", [quiet]) == []
    # Of 2.6, pools have no names; a pillar may give them for readers.
    assert plan.notes(v1(ipPool=[pool_v1()]), "pool", [{"cidr": CIDR, "name": "rack1"}]) == []
    assert plan.notes(cluster, "peer", [{"peer_ip": "10.0.0.9", "as_number": 1, "name": "p"}]) == []


def test_what_is_wrong_only_with_what_is_there_is_refused_once_that_is_known():
    used = {"prefix_advertisements": [{"cidr": "10.0.0.0/8", "communities": ["rack"]}]}
    plan.check("bgp", [used], [], "v3")
    named = v3("BGPConfiguration", "default", communities=[{"name": "rack", "value": "64512:1"}])
    assert [step.action for step in plan.steps(topology.from_v3([named]), "bgp", [used])] == ["update"]
    with pytest.raises(calico_resources.Problems) as caught:
        plan.steps(topology.from_v3([]), "bgp", [used])
    assert "prefix_advertisements" in caught.value.problems[0]["setting"]


# Plans -------------------------------------------------------------------------------------------


def test_steps_that_count_as_taken_decide_what_is_refused():
    nodes = [v3("Node", f"node{n}", bgp={"ipv4Address": f"10.0.0.{n}/24"}) for n in (1, 2)]
    cluster = topology.from_v3(nodes)
    off = plan.steps(cluster, "bgp", [{"name": "default", "mesh": False}])
    assert [item["allow"] for item in plan.plan(cluster, off).refused] == ["no_sessions"]
    peers = plan.steps(cluster, "peer", [{"peer_ip": "10.0.0.9", "as_number": 64900}])
    assert plan.plan(cluster, off, others=peers).refused == []
    assert plan.plan(cluster, off, others=peers).steps == off


def test_a_plan_shows_its_changes_by_resource():
    cluster = topology.from_v3([])
    made = plan.plan(cluster, plan.steps(cluster, "pool", [{"cidr": CIDR}, {"cidr": "10.9.0.0/16"}]))
    assert set(made.changes) == {CIDR, "10.9.0.0/16"}
    assert made.changes[CIDR]["cidr"] == {"old": None, "new": CIDR}


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        ({"what": "nonsense"}, "what"),
        ({"what": 5}, "what"),
        ({"wanted": 5}, "wanted"),
        ({"wanted": ["172.20.0.0/16"]}, "wanted"),
        ({"wanted": {"cidr": CIDR}}, "wanted"),
        ({"absent": ["zz"]}, "absent"),
        ({"what": "resource", "absent": [None]}, "absent"),
        ({"prune": "maybe"}, "prune"),
        ({"what": "node", "prune": True}, "prune"),
        ({"allow": ["foo"]}, "allow"),
        ({"allow": "pool_in_use"}, "allow"),
    ],
)
@pytest.mark.parametrize("generation", ["v1", "v3"])
def test_arguments_of_a_command_line_are_named(generation, arguments, setting):
    with pytest.raises(calico_resources.Problems) as caught:
        plan.check(**{"what": "pool", "wanted": [], "absent": [], "generation": generation, **arguments})
    assert [item["setting"] for item in caught.value.problems] == [setting]


def test_a_resource_whose_metadata_is_none_is_named():
    with pytest.raises(calico_resources.Problems) as caught:
        plan.check("resource", [{"apiVersion": "v9", "kind": [], "metadata": 5}], [], "v3")
    assert {"apiVersion", "kind"} <= {item["setting"] for item in caught.value.problems}
