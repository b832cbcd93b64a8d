"""calicoctl's own configuration: the file, or the environment where there is no file."""

import os

from .documents import parse_yaml, words_of
from .errors import CtlError, Missing

DEFAULT = "/etc/calico/calicoctl.cfg"
# key of the file's spec: variable of the environment
KEYS = {
    "datastoreType": "DATASTORE_TYPE",
    "etcdEndpoints": "ETCD_ENDPOINTS",
    "etcdUsername": "ETCD_USERNAME",
    "etcdPassword": "ETCD_PASSWORD",
    "etcdKeyFile": "ETCD_KEY_FILE",
    "etcdCertFile": "ETCD_CERT_FILE",
    "etcdCACertFile": "ETCD_CA_CERT_FILE",
    "kubeconfig": "KUBECONFIG",
    "k8sAPIEndpoint": "K8S_API_ENDPOINT",
    "k8sKeyFile": "K8S_KEY_FILE",
    "k8sCertFile": "K8S_CERT_FILE",
    "k8sCAFile": "K8S_CA_FILE",
    "k8sAPIToken": "K8S_API_TOKEN",
    "k8sInsecureSkipTLSVerify": "K8S_INSECURE_SKIP_TLS_VERIFY",
    "k8sDisableNodePoll": "K8S_DISABLE_NODE_POLL",
}
V1_KEYS = {"etcdScheme": "ETCD_SCHEME", "etcdAuthority": "ETCD_AUTHORITY"}
V3_KEYS = {
    "etcdDiscoverySrv": "ETCD_DISCOVERY_SRV",
    "etcdKey": "ETCD_KEY",
    "etcdCert": "ETCD_CERT",
    "etcdCACert": "ETCD_CA_CERT",
    "kubeconfigInline": "",
    "usePodCIDR": "USE_POD_CIDR",
    "k8sClientQPS": "K8S_CLIENT_QPS",
    "k8sCurrentContext": "K8S_CURRENT_CONTEXT",
    "calicoAPIGroup": "CALICO_API_GROUP",
}


def _keys(version):
    return {**KEYS, **(V1_KEYS if version.first else V3_KEYS)}


def load(path, version):
    """The settings as {key of the spec: text}."""
    if not os.path.exists(path):
        if path != DEFAULT:
            raise Missing(f"Error reading config file: {path}")
        return _from_environment(version)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    words = words_of(version)
    try:
        return _read(text, version, words)
    except CtlError as error:
        raise CtlError(f"syntax error in {path}: {error}") from None


def _read(text, version, words):
    # The newer ones say for both what they failed at.
    lead = "" if version.first else "failed to parse config as YAML/JSON: "
    try:
        documents = parse_yaml(text, words)
        document = documents[0] if documents else {}
        if not isinstance(document, dict):
            raise words.wrong_type(document, "CalicoAPIConfig", "", "apiconfig.CalicoAPIConfig")
        spec = document.get("spec") or {}
        for where, known in ((document, ("apiVersion", "kind", "metadata", "spec")), (spec, _keys(version))):
            for key in where:
                if key not in known:
                    raise words.unknown_setting(key)
    except CtlError as error:
        raise CtlError(f"{lead}{error}") from None
    api_version, kind = document.get("apiVersion", ""), document.get("kind", "")
    if api_version != version.api_version:
        raise CtlError(f"invalid config file: unknown APIVersion '{api_version}'")
    if kind != version.config_kind:
        raise CtlError(f"invalid config file: expected kind '{version.config_kind}', got '{kind}'")
    return {key: str(value) for key, value in spec.items() if value is not None}


def _from_environment(version):
    found = {}
    for key, variable in _keys(version).items():
        value = os.environ.get(variable) or os.environ.get(f"CALICO_{variable}")
        if variable and value:
            found[key] = value
    return found


def client(path, version):
    """A client of the datastore that the settings name."""
    found = load(path, version)
    make = _client_v1 if version.first else _client_v3
    try:
        return make(found)
    except OSError as error:
        raise CtlError(f"open {error.filename}: {error.strerror.lower()}") from None


def _files(found):
    return tuple(found.get(f"etcd{name}File") or None for name in ("CACert", "Cert", "Key"))


def _client_v1(found):
    import etcdv2

    kind = found.get("datastoreType", "etcdv2")
    if kind != "etcdv2":
        raise CtlError(f"Unknown datastore type: {kind}")
    default = f"{found.get('etcdScheme', 'http')}://{found.get('etcdAuthority', '127.0.0.1:2379')}"
    endpoints = (found.get("etcdEndpoints") or default).split(",")
    return etcdv2.Client(endpoints, *_files(found))


def _client_v3(found):
    endpoints = found.get("etcdEndpoints", "")
    kind = found.get("datastoreType") or ("etcdv3" if endpoints else "kubernetes")
    if kind == "kubernetes":
        _kubernetes(found.get("kubeconfig", ""))
    if kind != "etcdv3":
        raise CtlError(f"unknown datastore type: {kind}")
    if not endpoints:
        raise CtlError("no etcd endpoints specified")
    import etcdv3

    try:
        return etcdv3.Client(endpoints.split(","), *_files(found))
    except OSError as error:
        reason = f"open {error.filename}: {error.strerror.lower()}"
        raise CtlError(f"could not initialize etcdv3 client: {reason}") from None


def _kubernetes(kubeconfig):
    """Its datastore is not played; what is wrong before it is asked is."""
    if kubeconfig and not os.path.exists(kubeconfig):
        raise CtlError(f"stat {kubeconfig}: no such file or directory")
    raise CtlError("invalid configuration: no configuration has been provided")
