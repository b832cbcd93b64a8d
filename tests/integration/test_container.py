"""The container and the files, held against the chapter that the formula started from."""

import json
import shlex

import yaml

from tests.integration import fleet as fleets


def in_effect(inspected):
    """What docker shows of a container that decides how it runs."""
    return {
        "image": (inspected["Image"], inspected["Config"]["Image"]),
        "environment": sorted(inspected["Config"]["Env"]),
        "mounts": sorted(inspected["HostConfig"]["Binds"]),
        "mounted": sorted((m["Source"], m["Destination"], m["RW"]) for m in inspected["Mounts"]),
        "network": inspected["HostConfig"]["NetworkMode"],
        "privileged": inspected["HostConfig"]["Privileged"],
        "command": (inspected["Path"], inspected["Args"]),
        "user": inspected["Config"]["User"],
    }


def test_the_container_is_the_chapters(fleet, host):
    pillar = fleet.lab.pillar()
    found = fleets.inspect(host)
    words = shlex.split(
        fleet.generation.container.format(
            node=host.name,
            endpoint=pillar["etcd"]["endpoints"][0],
            pool=pillar["network"]["pools"][0]["cidr"],
            image=found["Config"]["Image"],
        )
    )
    # `create` in the place of `run`: the two must not run beside each other.
    words = ["create" if word == "run" else word for word in words if word != "--detach"]
    try:
        host.exec(words)
        chapter = json.loads(host.exec(["docker", "inspect", "chapter"]).stdout)[0]
    finally:
        host.exec(["docker", "rm", "--force", "chapter"], check=False)
    assert in_effect(found) == in_effect(chapter)
    assert found["Name"] == "/calico-node"
    told = fleet.ask(host, "container")[0]
    assert told["image"] == chapter["Config"]["Image"]
    assert sorted(told["mounts"]) == sorted(chapter["HostConfig"]["Binds"])
    shown = dict(item.split("=", 1) for item in chapter["Config"]["Env"])
    assert told["environment"].items() <= shown.items()


def test_the_files_hold_the_chapters_data(fleet, host):
    generation, endpoint = fleet.generation, fleet.lab.etcd.endpoint
    assert json.loads(host.read(generation.cni)) == generation.cni_data(endpoint, host.name)
    found = yaml.safe_load(host.read("/etc/calico/calicoctl.cfg"))
    assert found == generation.calicoctl_data(endpoint)
    modes = {"/etc/calico/ssl/calico-key.pem": "600", "/etc/calico/calico-node.env": "600"}
    for path, mode in modes.items():
        assert host.exec(["stat", "-c", "%a %U", path]).stdout.split() == [mode, "root"]
    for name, part in (("ca.pem", "ca"), ("calico.pem", "calico"), ("calico-key.pem", "calico-key")):
        assert host.read(f"/etc/calico/ssl/{name}") == fleet.lab.etcd.pem(part)
    assert host.exec("systemd-analyze verify calico-node.service 2>&1").stdout.strip() == ""
    assert "PRIVATE KEY" not in host.exec("journalctl --quiet --output=cat").stdout
    assert "172.20.0.0/16" in host.exec("calicoctl get ipPool").stdout.split()


def test_values_arrive_in_the_container_byte_for_byte(fleet, host):
    values = {
        "V_SINGLE": "it's",
        "V_DOUBLE": 'a "b" c',
        "V_PERCENT": "100%% %n %i %H",
        "V_DOLLAR": "$HOME ${PATH} $$ $(id)",
        "V_BACKSLASH": "a\\b\\n\\",
        "V_SEMICOLON": "a; b && c | d > e",
        "V_ALIEN": "größe – 日本",
        "V_BLANKS": "  both ends  ",
        "V_HASH": "#no comment",
        "V_EQUALS": "a=b=c",
        "V_TEMPLATE": "{{ 7 * 7 }} {% raw %} {# x #}",
        "V_EMPTY": "",
        "V_NUMBER": 5,
        "V_TRUE": True,
    }
    fleet.pillar({"env": values})
    fleet.converge(host)
    inside = host.exec("docker exec calico-node cat /proc/1/environ").stdout
    arrived = dict(item.split("=", 1) for item in inside.split("\0") if "=" in item)
    wanted = {name: "true" if value is True else str(value) for name, value in values.items()}
    assert {name: arrived.get(name) for name in values} == wanted
