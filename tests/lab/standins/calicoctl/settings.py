"""calicoctl's own configuration: the file, or the environment where there is no file."""

import os

from .documents import parse_yaml
from .errors import CtlError

DEFAULT = "/etc/calico/calicoctl.cfg"
# key of the file's spec: variable of the environment
KEYS = {
    "datastoreType": "DATASTORE_TYPE",
    "etcdScheme": "ETCD_SCHEME",
    "etcdAuthority": "ETCD_AUTHORITY",
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
API_VERSION = "v1"
KIND = "calicoApiConfig"


class Missing(CtlError):
    """The file that was asked for is not there."""


def load(path):
    """The settings as {key of the spec: text}."""
    if not os.path.exists(path):
        if path != DEFAULT:
            raise Missing(f"Error reading config file: {path}")
        return _from_environment()
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        documents = parse_yaml(text)
        return _checked(documents[0] if documents else {})
    except CtlError as error:
        raise CtlError(f"syntax error in {path}: {error}") from None


def _checked(document):
    if not isinstance(document, dict):
        raise CtlError("error parsing document: json: cannot unmarshal into Go value")
    if document.get("apiVersion") != API_VERSION:
        raise CtlError(f"invalid config file: unknown APIVersion '{document.get('apiVersion', '')}'")
    if document.get("kind") != KIND:
        raise CtlError(f"invalid config file: expected kind '{KIND}', got '{document.get('kind', '')}'")
    known = {"": {"apiVersion", "kind", "metadata", "spec"}, "spec": set(KEYS)}
    spec = document.get("spec") or {}
    for where, branch in (("", document), ("spec", spec)):
        for key in branch:
            if key not in known[where]:
                raise CtlError(
                    "error parsing document: field in document is not recognized or is in the "
                    f"wrong location: {key}"
                )
    return {key: str(value) for key, value in spec.items() if value is not None}


def _from_environment():
    found = {}
    for key, variable in KEYS.items():
        value = os.environ.get(variable) or os.environ.get(f"CALICO_{variable}")
        if value:
            found[key] = value
    return found


def client(path):
    """A client of the datastore that the settings name."""
    import etcdv2

    found = load(path)
    kind = found.get("datastoreType", "etcdv2")
    if kind != "etcdv2":
        raise CtlError(f"Unknown datastore type: {kind}")
    default = f"{found.get('etcdScheme', 'http')}://{found.get('etcdAuthority', '127.0.0.1:2379')}"
    endpoints = (found.get("etcdEndpoints") or default).split(",")
    files = (found.get(f"etcd{name}File") or None for name in ("CACert", "Cert", "Key"))
    try:
        return etcdv2.Client(endpoints, *files)
    except FileNotFoundError as error:
        raise CtlError(f"open {error.filename}: no such file or directory") from None
