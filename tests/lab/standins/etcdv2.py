"""
A client of etcd's v2 API for the stand-ins: standard library only, errors in the words of Go's client.

The stand-ins must not share code with the formula: what one gets wrong the other would not notice.
"""

import http.client
import json
import socket
import ssl
import urllib.parse

KEY_NOT_FOUND = 100
COMPARE_FAILED = 101
KEY_EXISTS = 105
INDEX_CLEARED = 401


class EtcdError(Exception):
    """etcd said no."""


class Unreachable(EtcdError):
    """No endpoint gave an answer; one reason for each is in ``reasons``."""

    def __init__(self, reasons):
        numbered = "; ".join(f"error #{number}: {reason}" for number, reason in enumerate(reasons))
        super().__init__(f"client: etcd cluster is unavailable or misconfigured; {numbered}\n")
        self.reasons = reasons


class KeyExists(EtcdError):
    """The key was to be new and is not."""


class KeyMissing(EtcdError):
    """There is no such key."""


class CompareFailed(EtcdError):
    """The key changed since it was read."""


_ERRORS = {KEY_NOT_FOUND: KeyMissing, COMPARE_FAILED: CompareFailed, KEY_EXISTS: KeyExists}


class Client:
    """Keys are plain texts such as ``/calico/v1/Ready``; timeout is for the begin of an answer."""

    def __init__(self, endpoints, ca=None, cert=None, key=None, timeout=30.0):
        self._endpoints = [urllib.parse.urlsplit(endpoint) for endpoint in endpoints]
        self._timeout = timeout
        self._context = None
        self._connection = None
        # Missing files are an error when the client is made, not when it first speaks.
        for path in (ca, key, cert):
            if path:
                with open(path, "rb"):
                    pass
        if any(endpoint.scheme == "https" for endpoint in self._endpoints):
            self._context = ssl.create_default_context(cafile=ca)
            # Of the same age as the original's: the server's word about our certificate then comes
            # within the handshake, where with 1.3 it may be lost behind a closed connection.
            self._context.maximum_version = ssl.TLSVersion.TLSv1_2
            if cert and key:
                self._context.load_cert_chain(cert, key)

    def tree(self, prefix):
        """All leaves below PREFIX as {key: value}, and etcd's index at that moment."""
        status, body, index = self._call("GET", prefix, {"recursive": "true", "quorum": "true"})
        if status == 404:
            self._not_found(body)
            return {}, index
        self._good(status, body)
        leaves = {}
        _collect(body["node"], leaves)
        return leaves, index

    def get(self, key):
        """The value of KEY, or None."""
        status, body, _index = self._call("GET", key, {"quorum": "true"})
        if status == 404:
            self._not_found(body)
            return None
        self._good(status, body)
        return body["node"].get("value")

    def put(self, key, value, prev_exist=None, prev_index=None):
        """Set KEY; with prev_exist False only if it is new, True only if it is there."""
        query = {}
        if prev_exist is not None:
            query["prevExist"] = "true" if prev_exist else "false"
        if prev_index is not None:
            query["prevIndex"] = str(prev_index)
        form = urllib.parse.urlencode({"value": value})
        status, body, _index = self._call("PUT", key, query, form)
        self._good(status, body)

    def delete(self, key, recursive=False):
        """Remove KEY, or all below it; False where there was nothing."""
        query = {"recursive": "true", "dir": "true"} if recursive else {}
        status, body, _index = self._call("DELETE", key, query)
        if status == 404:
            self._not_found(body)
            return False
        self._good(status, body)
        return True

    def wait(self, prefix, after_index, timeout):
        """True once something below PREFIX changed after AFTER_INDEX, False when time is up."""
        query = {"wait": "true", "recursive": "true", "waitIndex": str(after_index + 1)}
        try:
            status, body, _index = self._call("GET", prefix, query, timeout=timeout)
        except Unreachable:
            if self._timed_out:
                return False
            raise
        # The index is too old for etcd's memory: then something changed for sure.
        if body.get("errorCode") == INDEX_CLEARED:
            return True
        self._good(status, body)
        return True

    def _not_found(self, body):
        if body.get("errorCode") != KEY_NOT_FOUND:
            raise EtcdError(body.get("message") or "404 page not found")

    def _good(self, status, body):
        if status < 300:
            return
        kind = _ERRORS.get(body.get("errorCode"), EtcdError)
        raise kind(f"{body.get('errorCode')}: {body.get('message')} ({body.get('cause')})")

    def _call(self, method, key, query, form=None, timeout=None):
        path = "/v2/keys" + urllib.parse.quote(key)
        if query:
            path += "?" + urllib.parse.urlencode(query)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        reasons = []
        self._timed_out = False
        # A kept connection may have been closed meanwhile: then once more over a new one.
        if self._connection:
            try:
                return self._exchange(method, path, form, headers, timeout)
            except socket.timeout:
                self._timed_out = True
            except (OSError, http.client.HTTPException, ValueError):
                pass
            self._close()
            if self._timed_out:
                raise Unreachable(["context deadline exceeded"])
        for endpoint in list(self._endpoints):
            try:
                self._connect(endpoint)
                answer = self._exchange(method, path, form, headers, timeout)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._close()
                self._timed_out = isinstance(error, socket.timeout)
                reasons.append(go_words(error, endpoint))
                continue
            return answer
        raise Unreachable(reasons)

    def _connect(self, endpoint):
        host, port = endpoint.hostname, endpoint.port or 2379
        if endpoint.scheme == "https":
            self._connection = http.client.HTTPSConnection(
                host, port, timeout=self._timeout, context=self._context
            )
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        self._connection.connect()

    def _exchange(self, method, path, form, headers, timeout):
        self._connection.sock.settimeout(timeout or self._timeout)
        self._connection.request(method, path, form, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        index = int(answer.headers.get("X-Etcd-Index") or 0)
        try:
            body = json.loads(text)
        except ValueError:
            body = {"message": text.decode("utf-8", "replace").strip()}
        return answer.status, body, index

    def _close(self):
        if self._connection:
            self._connection.close()
        self._connection = None


_CLOSED = (ConnectionResetError, BrokenPipeError)


def go_words(error, endpoint):
    """What Go's HTTP client says of such an error."""
    address = f"{endpoint.hostname}:{endpoint.port or 2379}"
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {address}: connect: connection refused"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    if isinstance(error, ssl.SSLError):
        if "bad certificate" in str(error).lower() or "certificate required" in str(error).lower():
            return "remote error: tls: bad certificate"
        return str(error)
    if isinstance(error, socket.timeout):
        return "client: endpoint %s exceeded header timeout" % endpoint.geturl()
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {endpoint.hostname}: no such host"
    # Whoever is not understood may close before all was sent or read: chance decides how that shows here.
    if isinstance(error, OSError) and error.strerror and not isinstance(error, _CLOSED):
        return f"dial tcp {address}: connect: {error.strerror.lower()}"
    return "EOF"


def _collect(node, leaves):
    if node.get("dir"):
        for child in node.get("nodes") or []:
            _collect(child, leaves)
    else:
        leaves[node["key"]] = node.get("value", "")
