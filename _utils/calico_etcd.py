"""
Read-only client for etcd's two HTTP interfaces: the v2 API and the JSON gateway of the v3 API.

One request returns a whole subtree as one consistent snapshot, within a deadline that covers
everything (name look-up, connect, TLS, an answer that comes byte by byte). Whatever goes wrong is
an :class:`EtcdError` of its own kind that names the endpoint and says what to do; a key is only
ever reported absent when etcd itself said so.

Standard library only, no Salt, no side effects on the host.
"""

import base64
import contextlib
import errno
import http.client
import io
import json
import os
import socket
import ssl
import tempfile
import threading
import time
import urllib.parse

DEFAULT_PORT = 2379
# A cluster of 1,000 nodes with full blocks stays well below this.
LARGEST_ANSWER = 64 * 1024 * 1024
PAGE = 5000
# Where the gateway lies, newest etcd first (3.4 and later, 3.3, 3.2).
GATEWAYS = ("/v3", "/v3beta", "/v3alpha")
KEY_NOT_FOUND = 100


class EtcdError(Exception):
    """
    Something that kept us from an answer.

    endpoint
        URL of the endpoint concerned, or None.
    reasons
        Every endpoint that was tried, each with the error it gave.
    """

    def __init__(self, message, endpoint=None):
        super().__init__(f"etcd {endpoint}: {message}" if endpoint else message)
        self.endpoint = endpoint
        self.reasons = {endpoint: self} if endpoint else {}


class BadEndpoint(EtcdError):
    """The endpoint is not an http or https URL of host and port."""


class BadCredentials(EtcdError):
    """The CA, certificate or key that we were given cannot be used."""


class Refused(EtcdError):
    """Nothing listens there, or the way to it is closed."""


class TimedOut(EtcdError):
    """No complete answer within the deadline."""


class UnknownHost(EtcdError):
    """The endpoint's host name has no address."""


class UntrustedServer(EtcdError):
    """The server's certificate does not prove that it is the etcd we mean."""


class ClientCertificateRefused(EtcdError):
    """The server does not accept our certificate, or wants one and got none."""


class NotEtcd(EtcdError):
    """Something answered, but not in etcd's words."""


class NoSuchApi(EtcdError):
    """This etcd does not serve the API that was asked for."""


class Denied(EtcdError):
    """etcd knows us and says no, or wants a user name and password."""


class Broken(EtcdError):
    """The connection or etcd itself failed in the middle."""


class Unreachable(EtcdError):
    """Every one of several endpoints failed; ``reasons`` has one error for each."""

    def __init__(self, reasons):
        super().__init__("no etcd endpoint answered: " + "; ".join(str(e) for e in reasons.values()))
        self.reasons = reasons


class Client:
    """
    A client that keeps its connection open between calls.

    endpoints
        List of URLs, tried in this order; one that answered is tried first the next time.
    ca, cert, key
        Paths of PEM files.
    tls
        Instead of paths: a dict with the PEM blocks ``ca``, ``cert``, ``key`` (bytes or text, and nothing
        around them). They are written to no disk.
    username, password
        For etcd's own authentication.
    deadline
        Seconds that one call may take over all endpoints.
    """

    def __init__(
        self,
        endpoints,
        ca=None,
        cert=None,
        key=None,
        username=None,
        password=None,
        deadline=20.0,
        tls=None,
    ):
        if not endpoints:
            raise BadEndpoint("no etcd endpoints given")
        self.deadline = deadline
        self._username = username
        self._password = password
        self._token = None
        self._gateway = None
        context = None
        if any(endpoint.startswith("https:") for endpoint in endpoints):
            context = tls_context(ca, cert, key, tls)
        self._has_certificate = bool(cert or (tls or {}).get("cert"))
        self._connections = [_Connection(endpoint, context) for endpoint in endpoints]

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        """Close the connections."""
        for connection in self._connections:
            connection.close()

    @property
    def clock(self):
        """What the server's clock said (text) and ours then (seconds), of the last answer; or None."""
        return self._connections[0].clock

    def tree_v2(self, prefix):
        """
        All keys at and below ``prefix`` with their values, as one flat dict.

        Empty only if etcd says that the prefix does not exist or holds nothing.
        """
        path = "/v2/keys" + urllib.parse.quote(prefix) + "?recursive=true&quorum=true"
        return self._on_any_endpoint(lambda ask: _tree(ask, path))

    def range_v3(self, prefix, page=PAGE):
        """
        All keys that start with ``prefix``.

        Returns ({key: (value, mod_revision)}, revision); read in pages of ``page`` keys, all of
        them at the same revision.
        """
        return self._on_any_endpoint(lambda ask: self._range(ask, prefix, page))

    def server(self):
        """The server's version and the APIs that it serves: ``{"version": …, "apis": […]}``."""
        return self._on_any_endpoint(self._server)

    def health(self):
        """True if etcd says that its cluster works, False if it says that it does not."""
        return self._on_any_endpoint(_health)

    def _on_any_endpoint(self, work):
        end = time.monotonic() + self.deadline
        reasons = {}
        waiting = list(self._connections)
        while waiting:
            connection = waiting.pop(0)
            now = time.monotonic()
            # An endpoint that hangs must leave time for those that follow it.
            share = now + max(0.0, end - now) / (len(waiting) + 1)
            ask = _Asker(connection, share, self)
            try:
                answer = work(ask)
            except Denied:
                connection.close()
                raise
            except EtcdError as err:
                connection.close()
                reasons[connection.endpoint] = err
                continue
            self._connections.remove(connection)
            self._connections.insert(0, connection)
            return answer
        if len(reasons) == 1:
            raise next(iter(reasons.values()))
        raise Unreachable(reasons)

    def _range(self, ask, prefix, page):
        start = prefix.encode()
        end = _after_prefix(start)
        revision = None
        found = {}
        while True:
            query = {"key": _b64(start), "range_end": _b64(end), "limit": page}
            if revision is not None:
                query["revision"] = revision
            answer = self._gateway_call(ask, "/kv/range", query)
            try:
                if revision is None:
                    revision = int(answer["header"]["revision"])
                last = None
                for pair in answer.get("kvs") or []:
                    last = base64.b64decode(pair["key"])
                    value = base64.b64decode(pair.get("value", "")).decode("utf-8", "replace")
                    found[last.decode("utf-8", "replace")] = (value, int(pair["mod_revision"]))
            except (KeyError, TypeError, ValueError, AttributeError) as err:
                raise ask.not_etcd(f"an answer to a range request that has no {err}") from err
            if not answer.get("more") or last is None:
                return found, revision
            start = last + b"\0"

    def _gateway_call(self, ask, path, query):
        if self._username and not self._token and path != "/auth/authenticate":
            answer = self._gateway_call(
                ask, "/auth/authenticate", {"name": self._username, "password": self._password}
            )
            self._token = answer.get("token")
        for gateway in [self._gateway] if self._gateway else GATEWAYS:
            status, body = ask("POST", gateway + path, query, token=self._token)
            if status == 404:
                continue
            self._gateway = gateway
            return ask.json(status, body)
        raise ask.error(
            NoSuchApi,
            "does not serve the JSON gateway of the v3 API"
            " (needed: etcd 3.2 or later, started without --enable-grpc-gateway=false)",
        )

    def _server(self, ask):
        version = ask.json(*ask("GET", "/version"))
        if not isinstance(version, dict) or "etcdserver" not in version:
            raise ask.not_etcd("a /version without 'etcdserver'")
        apis = []
        try:
            ask.json(*ask("GET", "/v2/keys/"), api="v2")
            apis.append("v2")
        except NoSuchApi:
            pass
        try:
            self._gateway_call(ask, "/kv/range", {"key": _b64(b"\0"), "limit": 1})
            apis.append("v3")
        except NoSuchApi:
            pass
        return {"version": version["etcdserver"], "apis": apis}


def tls_context(ca=None, cert=None, key=None, texts=None):
    """
    TLS settings that trust and refuse the same servers as Calico's own (Go) clients do.

    ca, cert, key
        Paths of PEM files, or None.
    texts
        Dict with PEM texts under the same names, instead of paths.
    """
    texts = {name: _bytes(text) for name, text in (texts or {}).items() if text is not None}
    authorities = None
    try:
        if "ca" in texts:
            # An empty text would stand for the CAs of this host.
            authorities = texts["ca"].decode("ascii") or "no certificate"
        context = ssl.create_default_context(cafile=ca, cadata=authorities)
    except (OSError, ValueError) as err:
        raise BadCredentials(f"CA {ca or 'from text'} cannot be used: {err}") from err
    # Go takes any certificate of the CA file for a root and asks for no key usage extensions.
    context.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0x80000)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if texts.get("cert"):
        with _in_memory(texts["cert"]) as own, _in_memory(texts.get("key", b"")) as private:
            _load_pair(context, own, private, "from text")
    elif cert:
        _load_pair(context, cert, key, f"{cert} with key {key}")
    return context


def _bytes(text):
    return text.encode("utf-8") if isinstance(text, str) else text


@contextlib.contextmanager
def _in_memory(text):
    """A path that these bytes can be read from: OpenSSL takes nothing else, and a key is for no disk."""
    # Python may have been built where the C library did not know of it yet.
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("calico"), "wb")
    else:
        file = tempfile.TemporaryFile(dir="/dev/shm")  # noqa: SIM115
    with file:
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _load_pair(context, cert, key, name):
    def no_password():
        raise BadCredentials(f"certificate {name}: the key is encrypted, which Calico cannot read")

    try:
        context.load_cert_chain(cert, key, password=no_password)
    except ssl.SSLError as err:
        reason = (
            "the key does not belong to the certificate"
            if err.reason == "KEY_VALUES_MISMATCH"
            else f"not a PEM certificate and key ({err.reason or err})"
        )
        raise BadCredentials(f"certificate {name}: {reason}") from err
    except OSError as err:
        raise BadCredentials(f"certificate {name}: {err.strerror or err}") from err


class _Asker:
    """One call on one endpoint, with what is left of the deadline."""

    def __init__(self, connection, end, client):
        self._connection = connection
        self._end = end
        self._client = client

    def __call__(self, method, path, query=None, token=None):
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = token
        elif self._client._username and path.startswith("/v2/"):
            pair = f"{self._client._username}:{self._client._password or ''}"
            headers["Authorization"] = "Basic " + _b64(pair.encode())
        body = None if query is None else json.dumps(query).encode()
        started = time.monotonic()
        try:
            return self._connection.ask(method, path, body, headers, self._end)
        except EtcdError:
            raise
        except Exception as err:
            raise self._explained(err, time.monotonic() - started) from err

    def error(self, kind, message):
        """An error of ``kind`` that names this endpoint."""
        return kind(message, self._connection.endpoint)

    def not_etcd(self, what):
        """The error for an answer that etcd would not give."""
        return self.error(NotEtcd, f"answered with {what}; is this address an etcd's client port?")

    def json(self, status, body, api=None):
        """The data of an answer; an error where it has none."""
        try:
            data = json.loads(body)
        except ValueError:
            data = None
        said = data.get("message") or data.get("error") if isinstance(data, dict) else None
        if status in (401, 403):
            raise self.error(Denied, f"access denied ({said or status}); check user and password")
        if status >= 500:
            cause = data.get("cause") if isinstance(data, dict) else None
            text = "; ".join(str(part) for part in (said, cause) if part)
            raise self.error(Broken, f"failed with status {status} ({text or 'no reason given'})")
        if status == 404 and data is None and api:
            raise self.error(NoSuchApi, f"does not serve the {api} API (etcd's option --enable-{api}=true)")
        if status >= 400 and said and "errorCode" not in data:
            raise self.error(Denied if "user name" in said else Broken, f"refused: {said}")
        if data is None or (status >= 400 and "errorCode" not in data):
            raise self.not_etcd(f"status {status} and {_excerpt(body)}")
        return data

    def _explained(self, err, took):
        connection = self._connection
        reason = getattr(err, "reason", None) or ""
        if isinstance(err, ssl.SSLCertVerificationError):
            return self.error(UntrustedServer, _why_untrusted(err, connection.host))
        if isinstance(err, ssl.SSLError):
            if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
                return self.error(ClientCertificateRefused, self._why_refused(reason))
            if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"):
                return self.error(Broken, "does not speak TLS there; should it be http://?")
            if isinstance(err, ssl.SSLEOFError):
                return self.error(Broken, "closed the connection during TLS" + self._hint())
            return self.error(Broken, f"TLS failed ({reason or err})")
        if isinstance(err, (socket.timeout, TimeoutError)):
            did = "accepts connections but does not answer" if connection.connected else "no answer"
            return self.error(TimedOut, f"{did} ({took:.0f} s); is etcd overloaded or stopped?")
        if isinstance(err, socket.gaierror):
            return self.error(UnknownHost, f"host name {connection.host!r} cannot be resolved")
        if isinstance(err, (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)):
            return self.error(Broken, "closed the connection without an answer" + self._hint())
        if isinstance(err, http.client.IncompleteRead):
            return self.error(Broken, "closed the connection in the middle of its answer")
        if isinstance(err, http.client.HTTPException):
            return self.not_etcd(f"something that is not HTTP ({_excerpt(str(err))})")
        if isinstance(err, OSError):
            if err.errno == errno.ECONNREFUSED:
                return self.error(Refused, "connection refused; is etcd running there?")
            return self.error(Refused, f"cannot connect: {err.strerror or err}")
        raise err

    def _hint(self):
        if not self._connection.tls:
            return "; does it want https://?"
        if not self._client._has_certificate:
            return "; it may want a client certificate"
        # Its refusal of ours may be lost where it closes before it has read our request.
        return "; it may not accept our certificate: is it signed by the CA that etcd trusts?"

    def _why_refused(self, reason):
        if not self._client._has_certificate:
            return "wants a client certificate and was given none"
        detail = reason.rsplit("ALERT_", 1)[-1].replace("_", " ").lower()
        return (
            f"does not accept our certificate ({detail}); is it still valid and signed by the CA"
            " that etcd trusts (--trusted-ca-file)?"
        )


class _Connection:
    """An endpoint with the connection to it, opened when needed."""

    def __init__(self, endpoint, context):
        url = urllib.parse.urlsplit(endpoint)
        try:
            port = url.port
        except ValueError:
            port = -1
        if url.scheme not in ("http", "https") or not url.hostname or port == -1:
            raise BadEndpoint(f"endpoint {endpoint!r} is not of the form https://HOST:PORT")
        self.endpoint = endpoint.rstrip("/")
        self.host = url.hostname
        self.port = port or DEFAULT_PORT
        self.tls = context if url.scheme == "https" else None
        self.connected = False
        self.clock = None
        self._http = None

    def ask(self, method, path, body, headers, end):
        reused = self._http is not None
        try:
            return self._ask(method, path, body, headers, end)
        except (http.client.RemoteDisconnected, ConnectionError):
            self.close()
            if not reused:
                raise
        # A server may close a connection that rested; that says nothing about the request.
        return self._ask(method, path, body, headers, end)

    def _ask(self, method, path, body, headers, end):
        if self._http is None:
            self._http = self._connect(end)
        connection = self._http
        connection.sock.end = end
        try:
            connection.request(method, path, body=body, headers=headers)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError) as err:
            # The reason (a TLS alert) may lie unread in the socket's buffer.
            connection.sock.recv_reason(err)
            raise
        with connection.getresponse() as response:
            if response.getheader("Date"):
                self.clock = (response.getheader("Date"), time.time())
            text = response.read(LARGEST_ANSWER + 1)
            if len(text) > LARGEST_ANSWER:
                raise Broken(f"answer larger than {LARGEST_ANSWER} bytes", self.endpoint)
            if response.length:
                raise http.client.IncompleteRead(text, response.length)
            if response.will_close:
                self.close()
            return response.status, text

    def _connect(self, end):
        self.connected = False
        raw = None
        for family, kind, protocol, _name, address in _addresses(self.host, self.port, end):
            raw = socket.socket(family, kind, protocol)
            try:
                raw.settimeout(_left(end))
                raw.connect(address)
                break
            except OSError as err:
                raw.close()
                raw, failure = None, err
        if raw is None:
            raise failure
        self.connected = True
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            try:
                raw.settimeout(_left(end))
                raw = self.tls.wrap_socket(raw, server_hostname=self.host)
            except BaseException:
                raw.close()
                raise
        connection = http.client.HTTPConnection(self.host, self.port)
        connection.sock = _DeadlineSocket(raw, end)
        connection.auto_open = 0
        return connection

    def close(self):
        if self._http is not None:
            self._http.close()
            self._http = None


class _DeadlineSocket:
    """
    What http.client needs of a socket, with one deadline for all of its operations.

    A socket's own time limit starts again with every byte that arrives, so that a server which
    sends slowly would be listened to for ever.
    """

    def __init__(self, sock, end):
        self._sock = sock
        self._readers = 0
        self._closed = False
        self.end = end

    def sendall(self, data):
        self._sock.settimeout(_left(self.end))
        self._sock.sendall(data)

    def recv_into(self, buffer):
        self._sock.settimeout(_left(self.end))
        return self._sock.recv_into(buffer)

    def recv_reason(self, cause):
        """Raise the TLS error that waits to be read, if there is one."""
        try:
            self.recv_into(bytearray(1))
        except ssl.SSLError as err:
            raise err from cause
        except OSError:
            pass

    def makefile(self, *_args, **_kwargs):
        self._readers += 1
        return io.BufferedReader(_Raw(self), 65536)

    def close(self):
        """As a socket does it: where the server closes after its answer, this comes before that is read."""
        self._closed = True
        if not self._readers:
            self._sock.close()

    def reader_closed(self):
        """The last one to read an answer is done."""
        self._readers -= 1
        if self._closed:
            self.close()


class _Raw(io.RawIOBase):
    def __init__(self, sock):
        super().__init__()
        self._sock = sock

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._sock.recv_into(buffer)

    def close(self):
        if not self.closed:
            super().close()
            self._sock.reader_closed()


def _left(end):
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("deadline passed")
    return left


def _addresses(host, port, end):
    """getaddrinfo, which knows no time limit, in a thread that we can stop waiting for."""
    answer = []

    def look_up():
        try:
            answer.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as err:
            answer.append(err)
        except UnicodeError as err:
            answer.append(socket.gaierror(socket.EAI_NONAME, str(err)))

    if host.replace(".", "").isdigit() or ":" in host:
        look_up()
    else:
        thread = threading.Thread(target=look_up, daemon=True)
        thread.start()
        thread.join(_left(end))
    if not answer:
        raise socket.gaierror(socket.EAI_AGAIN, "no answer from the resolver")
    if isinstance(answer[0], OSError):
        raise answer[0]
    return answer[0]


def _tree(ask, path):
    answer = ask.json(*ask("GET", path), api="v2")
    if "errorCode" in answer:
        if answer["errorCode"] == KEY_NOT_FOUND:
            return {}
        raise ask.error(Broken, f"refused: {answer.get('message')} ({answer.get('cause')})")
    leaves = {}
    try:
        waiting = [answer["node"]]
        while waiting:
            node = waiting.pop()
            if node.get("dir"):
                waiting.extend(node.get("nodes") or [])
            else:
                leaves[node["key"]] = node["value"]
    except (KeyError, TypeError, AttributeError) as err:
        raise ask.not_etcd("JSON that is no key tree") from err
    return leaves


def _health(ask):
    status, body = ask("GET", "/health")
    if status in (200, 503):
        try:
            return str(json.loads(body)["health"]).lower() == "true"
        except (ValueError, KeyError, TypeError):
            raise ask.not_etcd(f"a /health that reads {_excerpt(body)}") from None
    ask.json(status, body)
    raise ask.not_etcd(f"status {status} for /health")


# X509_V_ERR_* of OpenSSL
_UNTRUSTED = {
    9: "its certificate is not valid yet (does one of the clocks go wrong?)",
    10: "its certificate has expired",
    62: "its certificate does not name host {host}",
    64: "its certificate does not name address {host}",
}


def _why_untrusted(err, host):
    known = _UNTRUSTED.get(err.verify_code)
    if known:
        return known.format(host=host)
    return f"its certificate is not signed by the CA that we were given ({err.verify_message})"


def _after_prefix(prefix):
    """The first key after all those that start with ``prefix``."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else b"\0"


def _excerpt(text):
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _b64(data):
    return base64.b64encode(data).decode("ascii")
