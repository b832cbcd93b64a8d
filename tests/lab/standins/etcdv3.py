"""
A client of etcd's v3 API over its JSON gateway for the stand-ins: standard library only.

Like the originals' client it has no deadline: while no endpoint answers, it tries on, without a word.
"""

import base64
import contextlib
import http.client
import json
import ssl
import time
import urllib.parse
from collections import namedtuple

TRY_AGAIN_AFTER = 0.5

# A key with its value and the revisions at which it was made and last changed.
Entry = namedtuple("Entry", "key value created revision")


class EtcdError(Exception):
    """etcd said no."""


class KeyExists(EtcdError):
    """The key was to be new and is not."""


class KeyMissing(EtcdError):
    """There is no such key."""


class CompareFailed(EtcdError):
    """The key changed since it was read."""


class Client:
    """Keys are plain texts such as ``/calico/ipam/v2/config``."""

    def __init__(self, endpoints, ca=None, cert=None, key=None, timeout=None):
        self._timeout = timeout
        self._endpoints = [urllib.parse.urlsplit(endpoint) for endpoint in endpoints]
        self._connection = None
        self._context = None
        # Missing files are an error when the client is made, not when it first speaks.
        for path in (ca, cert, key):
            if path:
                with open(path, "rb"):
                    pass
        if any(endpoint.scheme == "https" for endpoint in self._endpoints):
            self._context = ssl.create_default_context(cafile=ca)
            if cert and key:
                self._context.load_cert_chain(cert, key)

    def entries(self, prefix):
        """All below PREFIX as [Entry] in the order of keys, and the store's revision."""
        answer = self._call("range", {"key": _b64(prefix), "range_end": _b64_end(prefix)})
        return [_entry(item) for item in answer.get("kvs") or []], int(answer["header"]["revision"])

    def entry(self, key):
        """The Entry of KEY, or None."""
        found = self._call("range", {"key": _b64(key)}).get("kvs")
        return _entry(found[0]) if found else None

    def tree(self, prefix):
        """All below PREFIX as {key: value}, and the store's revision."""
        found, revision = self.entries(prefix)
        return {entry.key: entry.value for entry in found}, revision

    def get(self, key):
        """The value of KEY, or None."""
        found = self.entry(key)
        return found.value if found else None

    def put(self, key, value, prev_exist=None, revision=None):
        """Set KEY: only if it is new, only if it is there, or only if it is as of REVISION."""
        request = {"key": _b64(key), "value": _b64(value)}
        if prev_exist is None and revision is None:
            return int(self._call("put", request)["header"]["revision"])
        if revision is not None:
            compare = {"target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
        else:
            result = "GREATER" if prev_exist else "EQUAL"
            compare = {"target": "CREATE", "result": result, "create_revision": "0"}
        answer = self._call(
            "txn",
            {
                "compare": [{"key": _b64(key), **compare}],
                "success": [{"requestPut": request}],
                "failure": [{"requestRange": {"key": _b64(key)}}],
            },
        )
        if answer.get("succeeded"):
            return int(answer["header"]["revision"])
        if prev_exist is False:
            raise KeyExists(key)
        there = answer["responses"][0]["response_range"].get("kvs")
        raise CompareFailed(key) if there and revision is not None else KeyMissing(key)

    def delete(self, key, recursive=False):
        """Remove KEY, or all below it; False where there was nothing."""
        request = {"key": _b64(key)}
        if recursive:
            request["range_end"] = _b64_end(key)
        return int(self._call("deleterange", request).get("deleted") or 0) > 0

    def wait(self, prefix, after_revision, timeout):
        """True once something below PREFIX has changed since AFTER_REVISION; False after TIMEOUT seconds."""
        wanted = {"key": _b64(prefix), "range_end": _b64_end(prefix), "start_revision": after_revision + 1}
        end = time.monotonic() + timeout
        for endpoint in self._endpoints:
            try:
                connection = self._connected(endpoint, timeout)
                connection.request("POST", "/v3/watch", json.dumps({"create_request": wanted}))
                with contextlib.closing(connection), connection.getresponse() as answer:
                    # One line says that the watch was made; the next comes with a change.
                    answer.readline()
                    connection.sock.settimeout(max(0.01, end - time.monotonic()))
                    return bool(answer.readline())
            except TimeoutError:
                return False
            except (OSError, http.client.HTTPException):
                continue
        # Nobody to watch: as good as a change, since a look will wait until there is somebody.
        return True

    def _call(self, method, request):
        body = json.dumps(request)
        while True:
            if self._connection:
                try:
                    return self._exchange(method, body)
                except (OSError, http.client.HTTPException, ValueError):
                    self._connection = None
            for endpoint in self._endpoints:
                try:
                    self._connect(endpoint)
                    return self._exchange(method, body)
                except (OSError, http.client.HTTPException, ValueError):
                    self._connection = None
            time.sleep(TRY_AGAIN_AFTER)

    def _connect(self, endpoint):
        self._connection = self._connected(endpoint, self._timeout)

    def _connected(self, endpoint, timeout):
        kind = http.client.HTTPSConnection if endpoint.scheme == "https" else http.client.HTTPConnection
        more = {"context": self._context} if endpoint.scheme == "https" else {}
        if timeout is not None:
            more["timeout"] = timeout
        connection = kind(endpoint.hostname, endpoint.port or 2379, **more)
        connection.connect()
        return connection

    def _exchange(self, method, body):
        path = "/v3/kv/" + method
        self._connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        found = json.loads(answer.read())
        if answer.status != 200:
            raise EtcdError(f"etcdserver: {found.get('message') or found.get('error')}")
        return found


def _entry(item):
    value = base64.b64decode(item.get("value", "")).decode()
    key = base64.b64decode(item["key"]).decode()
    return Entry(key, value, int(item["create_revision"]), int(item["mod_revision"]))


def _b64(text):
    return base64.b64encode(text.encode()).decode()


def _b64_end(prefix):
    """The first key behind all that begin with PREFIX."""
    data = bytearray(prefix.encode())
    data[-1] += 1
    return base64.b64encode(bytes(data)).decode()
