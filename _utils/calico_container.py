"""
Settings in, the container out: image, environment, mounts and options of calico-node as data.

The unit file, the environment file and the check of the running container all come from the one
description made here. Pure: no Salt, no side effects.
"""

import hashlib
import json
import os
import re

import calico_filters
import calico_forms
import calico_generations
import calico_runtimes
import calico_secrets

NAME = "calico-node"
CERTIFICATES = "/etc/calico/ssl"
CERTIFICATE_FILES = {"ca": "ca.pem", "cert": "calico.pem", "key": "calico-key.pem"}
KEY = CERTIFICATES + "/" + CERTIFICATE_FILES["key"]
# Says what a running container was started with; see configuration_digest().
LABEL = "calico-formula.configuration"

# Where Felix' health port is by itself, and the hosts (3.x) for which it listens there.
LOCALHOST, HEALTH_PORT = "127.0.0.1", 9099
_EVERYWHERE = ("", "localhost", "0.0.0.0", "::", "none")
# The CNI configuration of 2.6, and of Calico 3.
CNI_FILES = ("10-calico.conf", "10-calico.conflist")

# Variables of the datastore's client that a setting decides. It takes each with CALICO_ before it, too.
_CLIENT = {
    "ETCD_ENDPOINTS": "etcd:endpoints",
    "ETCD_USERNAME": "etcd:username",
    "ETCD_PASSWORD": "etcd:password",
    "ETCD_CA_CERT_FILE": "etcd:tls:ca",
    "ETCD_CERT_FILE": "etcd:tls:cert",
    "ETCD_KEY_FILE": "etcd:tls:key",
    # The contents of the files, and ways around the endpoints: not together with what the settings give.
    "ETCD_CA_CERT": "etcd:tls:ca",
    "ETCD_CERT": "etcd:tls:cert",
    "ETCD_KEY": "etcd:tls:key",
    "ETCD_DISCOVERY_SRV": "etcd:endpoints",
    "ETCD_AUTHORITY": "etcd:endpoints",
    "ETCD_SCHEME": "etcd:endpoints",
    "DATASTORE_TYPE": "datastore",
    "KUBECONFIG": "kubernetes:kubeconfig",
}
# Variables that a setting of its own decides.
OWNED_VARIABLES = {
    **_CLIENT,
    **{"CALICO_" + name: path for name, path in _CLIENT.items()},
    "NODENAME": "node:name",
    # What it takes where there is no NODENAME, before the host's own name.
    "HOSTNAME": "node:name",
    # Elsewhere, neither the start nor the health check finds the name.
    "CALICO_NODENAME_FILE": "node:name",
    "IP": "node:ip",
    "IP6": "node:ip6",
    "IP_AUTODETECTION_METHOD": "node:ip_autodetection_method",
    "IP6_AUTODETECTION_METHOD": "node:ip6_autodetection_method",
    "AS": "node:as_number",
    "CALICO_NETWORKING_BACKEND": "node:backend",
    # An old name for the backend none.
    "CALICO_NETWORKING": "node:backend",
    "CALICO_IPV4POOL_CIDR": "network:pools",
    "CALICO_IPV4POOL_IPIP": "network:pools",
    "CALICO_IPV4POOL_NAT_OUTGOING": "network:pools",
    "CALICO_IPV6POOL_CIDR": "network:pools",
    "CALICO_IPV4POOL_VXLAN": "network:pools",
    "CALICO_IPV4POOL_BLOCK_SIZE": "network:pools",
    "CALICO_IPV4POOL_NODE_SELECTOR": "network:pools",
    "CALICO_IPV4POOL_DISABLE_BGP_EXPORT": "network:pools",
    "CALICO_IPV6POOL_NAT_OUTGOING": "network:pools",
    "CALICO_IPV6POOL_VXLAN": "network:pools",
    "CALICO_IPV6POOL_BLOCK_SIZE": "network:pools",
    "CALICO_IPV6POOL_NODE_SELECTOR": "network:pools",
    "CALICO_IPV6POOL_DISABLE_BGP_EXPORT": "network:pools",
    "NO_DEFAULT_POOLS": "network:pools",
    # What calico/node gives Felix by itself.
    "FELIX_FELIXHOSTNAME": "node:name",
    "FELIX_DATASTORETYPE": "datastore",
    "FELIX_ETCDENDPOINTS": "etcd:endpoints",
    "FELIX_ETCDADDR": "etcd:endpoints",
    "FELIX_ETCDSCHEME": "etcd:endpoints",
    "FELIX_ETCDCAFILE": "etcd:tls:ca",
    "FELIX_ETCDCERTFILE": "etcd:tls:cert",
    "FELIX_ETCDKEYFILE": "etcd:tls:key",
}
# Variables that go before what the kubeconfig says, where that is the way to the datastore.
KUBERNETES_VARIABLES = (
    "K8S_API_ENDPOINT",
    "K8S_CERT_FILE",
    "K8S_KEY_FILE",
    "K8S_CA_FILE",
    "K8S_API_TOKEN",
    "K8S_TOKEN",
    "K8S_INSECURE_SKIP_TLS_VERIFY",
    "K8S_CURRENT_CONTEXT",
)
_FELIX = "FELIX_"
# Felix of 2.6 reads etcd itself; whatever else decides how is no setting of anybody's.
_FELIX_ETCD = _FELIX + "ETCD"


def owner(variable, datastore, felix):
    """
    The setting that decides a variable of the container (text), or None.

    datastore
        What ``calico:datastore`` is (text).
    felix
        The names that Felix of this release knows. It reads its variables in any case.
    """
    name = variable.upper() if variable.upper().startswith(_FELIX) else variable
    if name in OWNED_VARIABLES:
        return OWNED_VARIABLES[name]
    if datastore == "kubernetes" and name.replace("CALICO_", "", 1) in KUBERNETES_VARIABLES:
        return OWNED_VARIABLES["KUBECONFIG"]
    if name.startswith(_FELIX_ETCD):
        return OWNED_VARIABLES["FELIX_ETCDENDPOINTS"]
    return next(("felix:" + known for known in felix if name == _FELIX + known.upper()), None)


def certificate_paths(settings):
    """Paths on the host and in the container of the certificates that the settings give."""
    return {
        part: "%s/%s" % (CERTIFICATES, CERTIFICATE_FILES[part])
        for part in ("ca", "cert", "key")
        if settings["etcd"]["tls"][part]
    }


# What calico/node looks at only where its datastore has no pool yet: once in a cluster's life.
ONCE = re.compile("NO_DEFAULT_POOLS|CALICO_IPV[46]POOL_.*")


def environment(settings):
    """
    The environment of the container, in the order of the chapter's unit.

    settings
        Finished settings (:func:`calico_settings.check`).

    Returns an ordered dict of names to text. Only what the settings or the generation ask for: what
    is absent keeps the image's own default.
    """
    tables = calico_generations.GENERATIONS[settings["generation"]]
    result = {"DATASTORE_TYPE": settings["datastore"]}
    if settings["datastore"] == "kubernetes":
        result["KUBECONFIG"] = settings["kubernetes"]["kubeconfig"]
    else:
        result["ETCD_ENDPOINTS"] = ",".join(settings["etcd"]["endpoints"])
        for key in ("username", "password"):
            if settings["etcd"][key]:
                result["ETCD_" + key.upper()] = settings["etcd"][key]
    for part, path in certificate_paths(settings).items():
        result["ETCD_%s_FILE" % {"ca": "CA_CERT", "cert": "CERT", "key": "KEY"}[part]] = path
    result.update(tables["env_defaults"])
    instead = calico_runtimes.RUNTIMES[settings["runtime"]]["environment"]
    result.update((name, value) for name, value in instead.items() if name in tables["env_defaults"])
    result["CALICO_NETWORKING_BACKEND"] = settings["node"]["backend"]
    result.update(_pool_environment(settings, tables))
    for name, value in settings["felix"].items():
        result["FELIX_" + name.upper()] = value
    node = settings["node"]
    result["IP"] = node["ip"]
    if node["ip"] == "none":
        result.update(tables["without_ipv4"])
    for variable, key in (
        ("IP6", "ip6"),
        ("IP_AUTODETECTION_METHOD", "ip_autodetection_method"),
        ("IP6_AUTODETECTION_METHOD", "ip6_autodetection_method"),
        ("AS", "as_number"),
        ("NODENAME", "name"),
    ):
        if node[key] is not None:
            result[variable] = str(node[key])
    for variable, value in tables["env_in_image"].items():
        if result.get(variable) == value:
            del result[variable]
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
    families = {4} if switch(settings, "Ipv6Support") is False else {4, 6}
    result = {}
    for family in sorted(families):
        variables = _pool_variables(wanted.get(family), family, settings, tables)
        if variables is None:
            return {"NO_DEFAULT_POOLS": "true"}
        result.update(variables)
    return result


def _pool_variables(pool, family, settings, tables):
    """The variables that make just this pool, or None where there are none for it in this release."""
    if pool is None:
        return None
    names = tables["pool_name"]
    if pool.get("name") not in (None, names and names[family]):
        return None
    prefix = "CALICO_IPV%dPOOL_" % family
    result = {prefix + "CIDR": pool["cidr"]}
    # What a pool may say without a variable for it: its name and network, and that it is not disabled.
    said = {word for word, value in pool.items() if value is not None} - {"cidr", "name", "disabled"}
    for suffix, word, families, since, values, implied in tables["pool_environment"]:
        if family not in families:
            continue
        value = pool.get(word)
        # An empty value would count as true: what the image does by itself gets no variable.
        if value in implied or value is None:
            said.discard(word)
        elif settings["minor"] >= since:
            result[prefix + suffix] = str(value) if values is None else values[value]
            said.discard(word)
    return None if any(pool[word] != "never" for word in said) else result


def switch(settings, name):
    """A switch of Felix: true or false, in any of the words that Felix takes for it, or something else."""
    return calico_forms.Flag().read(settings["felix"].get(name))


def mounts(settings):
    """The container's mounts as docker takes them (``/host:/container[:mode]``), in order."""
    result = ["%s:%s" % (path, path) for path in directories(settings)]
    if settings["datastore"] == "kubernetes":
        result.append("%s:%s:ro" % ((settings["kubernetes"]["kubeconfig"],) * 2))
    return result + list(settings["mounts"])


def directories(settings):
    """The directories of the host that the container has whatever ``calico:mounts`` says, in order."""
    tables = calico_generations.GENERATIONS[settings["generation"]]
    without = calico_runtimes.RUNTIMES[settings["runtime"]]["without_mounts"]
    own = [CERTIFICATES] if certificate_paths(settings) else []
    own.extend(path for path in tables["mounts"] if path not in without)
    for name, paths in tables["mounts_for"].items():
        if switch(settings, name) is True:
            own.extend(paths)
    own.extend(settings["felix"][name] for name in tables["mounts_of"] if settings["felix"].get(name))
    return own


def container(settings, certificates=""):
    """
    All that decides how the container runs.

    settings
        Finished settings.
    certificates
        Digest of the certificates' contents (text); part of the label, so that a container that was
        started with other certificates is known to be out of date.

    Returns a dict with name, image, environment, mounts, network, privileged, options (further ones of
    the runtime's ``run``) and labels.
    """
    result = {
        "name": NAME,
        "image": settings["image"],
        "environment": environment(settings),
        "mounts": mounts(settings),
        "network": "host",
        "privileged": True,
        "options": list(calico_runtimes.RUNTIMES[settings["runtime"]]["options"]),
    }
    result["labels"] = {LABEL: configuration_digest(result, certificates)}
    return result


def used(environment):
    """
    The part of an environment (``{name: text}``) that a container is held against.

    The default pools' variables count in an empty datastore only: later, calico/node does not look at
    them, and the pools' own states write what has changed.
    """
    return {name: value for name, value in environment.items() if not ONCE.fullmatch(name)}


def unit(settings, program=None):
    """
    What the unit of the container is made of beside :func:`container`.

    program
        Finds the host's program of iptables (:func:`calico_filters.program`); None where it has none.

    Returns a dict with service (that it needs, or None), remove (words of the runtime), directories (to
    be made before each start, as the runtime would not make them) and forwarding (shell commands before
    each start, for ``calico:forwarding:accept``).
    """
    runtime = calico_runtimes.RUNTIMES[settings["runtime"]]
    commands = []
    if settings["forwarding"]["accept"] and program:
        prefixes = calico_filters.prefixes(settings["felix"].get("InterfacePrefix"))
        families = pool_families(settings)
        commands = calico_filters.commands(felix_writes(settings), families, prefixes, program)
    return {
        "service": settings["service"],
        "remove": list(runtime["remove"]),
        "directories": [] if runtime["makes_directories"] else directories(settings),
        "forwarding": commands,
    }


def felix_writes(settings):
    """Which packet filters Felix writes by the pillar, see :func:`calico_filters.writes`."""
    return calico_filters.writes(settings["major"], settings["minor"], settings["felix"].get)


def pool_families(settings):
    """The address families that workloads may have: those of all pools, as addresses of each stay in use."""
    return sorted({6 if ":" in pool["cidr"] else 4 for pool in settings["network"]["pools"]})


def own_directories(directory):
    """
    A directory of CNI's, after the one above it where that is CNI's as well: it is called so.

    What else lies above is the host's: in /usr/lib/cni, /usr/lib is nothing to Calico.
    """
    above = os.path.dirname(directory)
    return [above, directory] if os.path.basename(above) == "cni" else [directory]


def cni_files(settings):
    """Paths of the CNI configuration of either generation; of the two only one may be there."""
    return ["%s/%s" % (settings["cni"]["conf_dir"], name) for name in CNI_FILES]


def cni_file(settings):
    """Path of the CNI configuration of this release."""
    chain = calico_generations.GENERATIONS[settings["generation"]]["cni_chain"]
    return cni_files(settings)[1 if chain else 0]


def wrote_cni(text):
    """
    Whether a CNI configuration (text) is one that the formula writes, whatever the settings were.

    Others have files of this name, too: Calico's own install-cni container, and people.
    """
    try:
        found = json.loads(text)
    except ValueError:
        return False
    if not isinstance(found, dict) or json.dumps(found, indent=4) != text.strip():
        return False
    plugins = found.get("plugins", [found])
    plugin = plugins[0] if isinstance(plugins, list) and plugins else None
    if not isinstance(plugin, dict) or plugin.get("type") != "calico":
        return False
    kubernetes = plugin.get("kubernetes")
    return (
        set(plugin) <= _CNI_KEYS
        and plugin.get("policy") == {"type": "k8s"}
        and isinstance(kubernetes, dict)
        and set(kubernetes) == {"kubeconfig"}
        and all(plugin[key].startswith(CERTIFICATES + "/") for key in _CNI_PATHS if key in plugin)
    )


_CNI_PATHS = ("etcd_key_file", "etcd_cert_file", "etcd_ca_cert_file")
_CNI_KEYS = {"name", "cniVersion", "type", "datastore_type", "etcd_endpoints", *_CNI_PATHS, "nodename"} | {
    "log_level",
    "mtu",
    "ipam",
    "policy",
    "kubernetes",
}


def cni_configuration(settings, installed=()):
    """
    The CNI configuration as data, in the order of the chapter's file. Paths are the host's.

    settings
        Finished settings.
    installed
        Names of the CNI plugins on the host: a list that names one which is not there would keep
        every pod from starting. portmap comes with every release of Calico's plugins, bandwidth not.
    """
    tables = calico_generations.GENERATIONS[settings["generation"]]
    head = {"name": settings["cni"]["name"], "cniVersion": tables["cni_version"]}
    plugin = {"type": "calico", **_cni_datastore(settings, tables)}
    if settings["node"]["name"]:
        # Without it the plugin takes the host's name, as calico/node does.
        plugin["nodename"] = settings["node"]["name"]
    plugin["log_level"] = settings["cni"]["log_level"]
    plugin["mtu"] = settings["cni"]["mtu"]
    plugin["ipam"] = {"type": "calico-ipam", **_cni_families(settings)}
    plugin["policy"] = {"type": settings["cni"]["policy"]}
    plugin["kubernetes"] = {"kubeconfig": settings["kubernetes"]["kubeconfig"]}
    if not tables["cni_chain"]:
        return dict(head, **plugin)
    chain = [plugin, {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}]
    if "bandwidth" in installed:
        chain.append({"type": "bandwidth", "capabilities": {"bandwidth": True}})
    return dict(head, plugins=chain)


def _cni_families(settings):
    """Which addresses a workload gets, where it is not the plugin's own way: IPv4 alone. Text, not true."""
    families = workload_families(settings)
    result = {} if 4 in families or not families else {"assign_ipv4": "false"}
    return dict(result, assign_ipv6="true") if 6 in families else result


def workload_families(settings):
    """
    The address families that workloads get, from the pools of the pillar.

    IPv6 only where the node has it, too, and Felix has not been told otherwise.
    """
    given = {
        6 if ":" in pool["cidr"] else 4
        for pool in settings["network"]["pools"]
        if not pool.get("disabled")
        and pool.get("assignment_mode") != "Manual"
        and "Workload" in (pool.get("allowed_uses") or ["Workload"])
    }
    if settings["node"]["ip6"] in (None, "", "none") or switch(settings, "Ipv6Support") is False:
        given.discard(6)
    return given


def _cni_datastore(settings, tables):
    result = {}
    if tables["env_in_image"].get("DATASTORE_TYPE") != settings["datastore"]:
        result["datastore_type"] = settings["datastore"]
    if settings["datastore"] == "kubernetes":
        return result
    result["etcd_endpoints"] = ",".join(settings["etcd"]["endpoints"])
    paths = certificate_paths(settings)
    for part, key in (("key", "etcd_key_file"), ("cert", "etcd_cert_file"), ("ca", "etcd_ca_cert_file")):
        if part in paths:
            result[key] = paths[part]
    return result


def calicoctl_configuration(settings):
    """calicoctl's configuration as data; calicoctl refuses keys it does not know."""
    tables = calico_generations.GENERATIONS[settings["generation"]]
    spec = {"datastoreType": settings["datastore"]}
    if settings["datastore"] == "kubernetes":
        spec["kubeconfig"] = settings["kubernetes"]["kubeconfig"]
    else:
        spec["etcdEndpoints"] = ",".join(settings["etcd"]["endpoints"])
        for key, name in (("username", "etcdUsername"), ("password", "etcdPassword")):
            if settings["etcd"][key]:
                spec[name] = settings["etcd"][key]
    paths = certificate_paths(settings)
    for part, key in (("key", "etcdKeyFile"), ("cert", "etcdCertFile"), ("ca", "etcdCACertFile")):
        if part in paths:
            spec[key] = paths[part]
    return dict(tables["calicoctl_config"], metadata=None, spec=spec)


def configuration_digest(description, certificates):
    """
    One text for everything a container is started with.

    It goes into the unit as a label. A container that carries another one was started before the
    last change, also where the run that made the change was killed before it could restart it. Everybody
    may read the unit, and guess at a digest: secrets are not in it, :func:`outdated` compares them.
    """
    environment = calico_secrets.shown(used(description["environment"]))
    # In which order things are mounted makes no difference.
    described = dict(description, environment=environment, mounts=sorted(description["mounts"]))
    canonical = json.dumps([described, certificates], sort_keys=True)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def health(environment):
    """
    Where Felix of a container says whether it is ready.

    environment
        The container's, as :func:`environment` or :func:`environment_of` returns it; of what it does not
        say, the formula's own defaults are taken.

    Returns ``{host, port, off}``; off says in words why Felix cannot be asked there (text), else it is None.
    Holds for Calico 2.6 and 3.x.
    """
    off = None
    enabled = environment.get("FELIX_HEALTHENABLED", "true")
    if environment.get("CALICO_DISABLE_FELIX"):
        off = "calico:env:CALICO_DISABLE_FELIX is set, so that no Felix runs"
    elif calico_forms.Flag().read(enabled) is not True:
        off = "calico:felix:HealthEnabled is '%s'" % enabled
    host = environment.get("FELIX_HEALTHHOST", "")
    port = environment.get("FELIX_HEALTHPORT", "")
    return {
        "host": LOCALHOST if host.lower() in _EVERYWHERE else host,
        "port": int(port) if port.isdecimal() else HEALTH_PORT,
        "off": off,
    }


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
    current = label == wanted["labels"][LABEL]
    # Values may be others under the same label: secrets, and a file that was changed by hand.
    differing = other_values(wanted["environment"], inspected, missing=not current)
    if differing:
        changes["environment"] = {"old": "other values", "new": ", ".join(differing)}
    binds = (inspected.get("HostConfig") or {}).get("Binds")
    if sorted(binds or []) != sorted(wanted["mounts"]) and (binds or not current):
        changes["mounts"] = {"old": sorted(binds or []), "new": sorted(wanted["mounts"])}
    if current:
        return changes
    changes["configuration"] = {"old": label, "new": wanted["labels"][LABEL]}
    return changes


def other_values(wanted, inspected, missing=False):
    """
    The variables that a container has other values for.

    wanted
        The environment as it should be (``{name: text}``).
    inspected
        The container as ``docker inspect`` shows it (dict).
    missing
        Whether those count that it does not have at all (bool).

    Returns a sorted list of names.
    """
    running = environment_of(inspected)
    # The runtime takes the file's lines without a carriage return at their end.
    return sorted(
        name
        for name, value in used(wanted).items()
        if (missing or name in running) and running.get(name) != value.removesuffix("\r")
    )


def environment_of(inspected):
    """The environment of a container as ``docker inspect`` shows it (dict, or None), ``{name: text}``."""
    pairs = ((inspected or {}).get("Config") or {}).get("Env") or []
    return dict(item.partition("=")[::2] for item in pairs)


def shown(inspected):
    """A container as ``docker inspect`` shows it, with the secrets in its environment masked."""
    if not (inspected or {}).get("Config"):
        return inspected
    pairs = calico_secrets.shown(environment_of(inspected)).items()
    safe = ["%s=%s" % pair for pair in pairs]
    return dict(inspected, Config=dict(inspected["Config"], Env=safe))
