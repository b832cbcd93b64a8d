"""
Settings in, the container out: image, environment, mounts and options of calico-node as data.

The unit file, the environment file and the check of the running container all come from the one
description made here. Pure: no Salt, no side effects.
"""

import hashlib
import json

import calico_generations

NAME = "calico-node"
CERTIFICATES = "/etc/calico/ssl"
CERTIFICATE_FILES = {"ca": "ca.pem", "cert": "calico.pem", "key": "calico-key.pem"}
# Says what a running container was started with; see configuration_digest().
LABEL = "calico-formula.configuration"


def certificate_paths(settings):
    """Paths on the host and in the container of the certificates that the settings give."""
    return {
        part: "%s/%s" % (CERTIFICATES, CERTIFICATE_FILES[part])
        for part in ("ca", "cert", "key")
        if settings["etcd"]["tls"][part]
    }


def environment(settings):
    """
    The environment of the container, in the order of the chapter's unit.

    settings
        Finished settings (:func:`calico_settings.check`).

    Returns an ordered dict of names to text. Only what the settings or the generation ask for: what
    is absent keeps the image's own default.
    """
    tables = calico_generations.GENERATIONS[settings["generation"]]
    result = {}
    if settings["datastore"] != tables["default_datastore_in_image"]:
        result["DATASTORE_TYPE"] = settings["datastore"]
    result["ETCD_ENDPOINTS"] = ",".join(settings["etcd"]["endpoints"])
    for part, path in certificate_paths(settings).items():
        result["ETCD_%s_FILE" % {"ca": "CA_CERT", "cert": "CERT", "key": "KEY"}[part]] = path
    result.update(tables["env_defaults"])
    result["CALICO_NETWORKING_BACKEND"] = settings["node"]["backend"]
    result.update(_pool_environment(settings, tables))
    for name, value in settings["felix"].items():
        result["FELIX_" + name.upper()] = value
    node = settings["node"]
    result["IP"] = node["ip"]
    for variable, key in (
        ("IP6", "ip6"),
        ("IP_AUTODETECTION_METHOD", "ip_autodetection_method"),
        ("IP6_AUTODETECTION_METHOD", "ip6_autodetection_method"),
        ("AS", "as_number"),
        ("NODENAME", "name"),
    ):
        if node[key] is not None:
            result[variable] = str(node[key])
    result.update(settings["env"])
    return result


def _pool_environment(settings, tables):
    """
    The default pools that the first node of an empty datastore makes.

    The image makes a pool for each family that has none. Where the settings name a pool for each of
    those families, the variables ask for just that pool, so that the first node does not bring up a
    foreign one; else no default pools are made at all and the pools' own states make them.
    """
    wanted = {}
    for pool in settings["network"]["pools"]:
        family = 6 if ":" in pool["cidr"] else 4
        if not pool["disabled"]:
            wanted.setdefault(family, pool)
    families = {4} if settings["felix"].get("Ipv6Support") == "false" else {4, 6}
    if not families <= set(wanted):
        return {"NO_DEFAULT_POOLS": "true"}
    result = {}
    for family in sorted(families):
        prefix = "CALICO_IPV%dPOOL_" % family
        result[prefix + "CIDR"] = wanted[family]["cidr"]
        if family == 4:
            result[prefix + "IPIP"] = tables["ipip_words"][wanted[family]["ipip"]]
        # Only where it differs from the image's default: an empty value would count as true.
        nat = wanted[family]["nat_outgoing"]
        if nat != (family == 4):
            result[prefix + "NAT_OUTGOING"] = "true" if nat else "false"
    return result


def mounts(settings):
    """The container's mounts as docker takes them (``/host:/container[:mode]``), in order."""
    tables = calico_generations.GENERATIONS[settings["generation"]]
    own = [CERTIFICATES] if certificate_paths(settings) else []
    own.extend(tables["mounts"])
    return ["%s:%s" % (path, path) for path in own] + list(settings["mounts"])


def container(settings, certificates=""):
    """
    All that decides how the container runs.

    settings
        Finished settings.
    certificates
        Digest of the certificates' contents (text); part of the label, so that a container that was
        started with other certificates is known to be out of date.

    Returns a dict with name, image, environment, mounts, network, privileged and labels.
    """
    result = {
        "name": NAME,
        "image": settings["image"],
        "environment": environment(settings),
        "mounts": mounts(settings),
        "network": "host",
        "privileged": True,
    }
    result["labels"] = {LABEL: configuration_digest(result, certificates)}
    return result


def cni_configuration(settings):
    """The CNI configuration as data, in the order of the chapter's file. Paths are the host's."""
    tables = calico_generations.GENERATIONS[settings["generation"]]
    result = {"name": settings["cni"]["name"], "cniVersion": tables["cni_version"], "type": "calico"}
    result["etcd_endpoints"] = ",".join(settings["etcd"]["endpoints"])
    paths = certificate_paths(settings)
    for part, key in (("key", "etcd_key_file"), ("cert", "etcd_cert_file"), ("ca", "etcd_ca_cert_file")):
        if part in paths:
            result[key] = paths[part]
    if settings["node"]["name"]:
        # Without it the plugin takes the host's name, as calico/node does.
        result["nodename"] = settings["node"]["name"]
    result["log_level"] = settings["cni"]["log_level"]
    result["mtu"] = settings["cni"]["mtu"]
    result["ipam"] = {"type": "calico-ipam"}
    result["policy"] = {"type": settings["cni"]["policy"]}
    result["kubernetes"] = {"kubeconfig": settings["kubernetes"]["kubeconfig"]}
    return result


def calicoctl_configuration(settings):
    """calicoctl's configuration as data; calicoctl refuses keys it does not know."""
    tables = calico_generations.GENERATIONS[settings["generation"]]
    spec = {
        "datastoreType": settings["datastore"],
        "etcdEndpoints": ",".join(settings["etcd"]["endpoints"]),
    }
    paths = certificate_paths(settings)
    for part, key in (("key", "etcdKeyFile"), ("cert", "etcdCertFile"), ("ca", "etcdCACertFile")):
        if part in paths:
            spec[key] = paths[part]
    return dict(tables["calicoctl_config"], metadata=None, spec=spec)


def configuration_digest(description, certificates):
    """
    One text for everything a container is started with.

    It goes into the unit as a label. A container that carries another one was started before the
    last change, also where the run that made the change was killed before it could restart it.
    """
    canonical = json.dumps([description, certificates], sort_keys=True)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def outdated(wanted, inspected, image_id):
    """
    How a running container differs from the one that the settings ask for.

    wanted
        What :func:`container` returned.
    inspected
        The container as ``docker inspect`` shows it (dict).
    image_id
        ID of the image that ``wanted`` names now (text), or None where it is not known.

    Returns ``{field: {old, new}}``, empty where the container is the wanted one. Values of the
    environment are left out: the names that differ are enough, and some values are secret.
    """
    changes = {}
    config = inspected.get("Config") or {}
    if image_id and inspected.get("Image") != image_id:
        changes["image"] = {"old": inspected.get("Image"), "new": image_id}
    label = (config.get("Labels") or {}).get(LABEL)
    if label == wanted["labels"][LABEL]:
        return changes
    running = dict(item.partition("=")[::2] for item in config.get("Env") or [])
    differing = sorted(name for name, value in wanted["environment"].items() if running.get(name) != value)
    if differing:
        changes["environment"] = {"old": "other values", "new": ", ".join(differing)}
    binds = (inspected.get("HostConfig") or {}).get("Binds") or []
    if sorted(binds) != sorted(wanted["mounts"]):
        changes["mounts"] = {"old": sorted(binds), "new": sorted(wanted["mounts"])}
    changes["configuration"] = {"old": label, "new": wanted["labels"][LABEL]}
    return changes
