"""The etcd client against a real etcd, and against everything that is not quite one."""

import contextlib
import json
import shutil
import socket
import ssl
import threading
import time
import urllib.request

import calico_etcd
import pytest

from tests.support import etcd as etcd_support
from tests.support import pki as pki_support

pytestmark = pytest.mark.skipif(not shutil.which("etcd"), reason="needs the etcd program")

DEADLINE = 1.5


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    directory = pki_support.make(tmp_path_factory.mktemp("pki"))
    pki_support.issue(directory, "expired", days=-1, begins=-30)
    pki_support.issue(directory, "elsewhere", client=False, hosts=["etcd.example.org"])
    pki_support.issue(directory, "expired-server", client=False, days=-1, begins=-30, hosts=["127.0.0.1"])
    pki_support.issue(directory, "future-server", client=False, begins=5, hosts=["127.0.0.1"])
    pki_support.issue(directory, "foreign", ca="wrong-ca")
    return directory


@pytest.fixture(scope="module")
def etcd(tmp_path_factory, pki):
    with etcd_support.Etcd(tmp_path_factory.mktemp("etcd"), pki) as server:
        yield server


@pytest.fixture
def client(pki):
    with contextlib.ExitStack() as stack:

        def make(*endpoints, name="calico", ca="ca", deadline=DEADLINE, **options):
            if name:
                options.update(cert=pki / f"{name}.pem", key=pki / f"{name}-key.pem")
            if ca:
                options["ca"] = pki / f"{ca}.pem"
            return stack.enter_context(calico_etcd.Client(list(endpoints), deadline=deadline, **options))

        yield make


@pytest.fixture
def server():
    """A server that treats every connection as the given function does."""
    with contextlib.ExitStack() as stack:

        def start(handle, pki=None, certificate="etcd"):
            listener = socket.create_server(("127.0.0.1", 0))
            stack.callback(listener.close)
            context = None
            if pki:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(pki / f"{certificate}.pem", pki / f"{certificate}-key.pem")
            threading.Thread(target=serve, args=(listener, handle, context), daemon=True).start()
            scheme = "https" if pki else "http"
            return f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"

        yield start


def serve(listener, handle, context):
    with contextlib.suppress(OSError):
        while True:
            connection, _address = listener.accept()
            with contextlib.suppress(OSError), connection:
                if context:
                    connection = context.wrap_socket(connection, server_side=True)
                with connection:
                    handle(connection)


def free_endpoint():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"https://127.0.0.1:{sock.getsockname()[1]}"


def answer(body, status="200 OK", headers=""):
    def handle(connection):
        connection.recv(65536)
        connection.sendall(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body
        )

    return handle


def put_v2(etcd, pki, key, value):
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    context.load_cert_chain(pki / "calico.pem", pki / "calico-key.pem")
    request = urllib.request.Request(
        f"{etcd.endpoint}/v2/keys{key}", data=f"value={value}".encode(), method="PUT"
    )
    urllib.request.urlopen(request, context=context).close()


def put_v3(etcd, pki, key, value):
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    context.load_cert_chain(pki / "calico.pem", pki / "calico-key.pem")
    data = json.dumps({"key": calico_etcd._b64(key.encode()), "value": calico_etcd._b64(value.encode())})
    request = urllib.request.Request(f"{etcd.endpoint}/v3/kv/put", data=data.encode())
    urllib.request.urlopen(request, context=context).close()


# What works -------------------------------------------------------------------------------------


def test_tree_v2_is_flat_and_exact(etcd, pki, client):
    put_v2(etcd, pki, "/tree/a", "1")
    put_v2(etcd, pki, "/tree/deep/b", "2")
    put_v2(etcd, pki, "/tree/deep/empty", "")
    connected = client(etcd.endpoint)
    assert connected.tree_v2("/tree") == {"/tree/a": "1", "/tree/deep/b": "2", "/tree/deep/empty": ""}
    assert connected.tree_v2("/tree/a") == {"/tree/a": "1"}
    assert connected.tree_v2("/nothing/there") == {}


def test_range_v3_reads_all_pages_at_one_revision(etcd, pki, client):
    for number in range(7):
        put_v3(etcd, pki, f"/pages/{number}", f"välue {number}")
    put_v3(etcd, pki, "/pagez", "not below the prefix")
    connected = client(etcd.endpoint)
    pairs, revision = connected.range_v3("/pages/", page=3)
    assert {key: value for key, (value, _revision) in pairs.items()} == {
        f"/pages/{number}": f"välue {number}" for number in range(7)
    }
    assert sorted(found for _value, found in pairs.values())[-1] < revision
    assert connected.range_v3("/nothing/") == ({}, revision)


def test_server_and_health(etcd, client):
    connected = client(etcd.endpoint)
    server = connected.server()
    assert server["apis"] == ["v2", "v3"]
    assert server["version"].startswith("3.")
    assert connected.health() is True


def test_pem_text_instead_of_paths(etcd, pki):
    names = {"ca": "ca.pem", "cert": "calico.pem", "key": "calico-key.pem"}
    texts = {part: (pki / name).read_text() for part, name in names.items()}
    with calico_etcd.Client([etcd.endpoint], tls=texts, deadline=DEADLINE) as connected:
        assert connected.health() is True


def test_the_connection_is_kept(etcd, client, monkeypatch):
    connected = client(etcd.endpoint)
    connected.tree_v2("/tree")
    monkeypatch.setattr(calico_etcd._Connection, "_connect", None)
    connected.tree_v2("/tree")


def test_a_connection_that_the_server_closed_is_opened_again(tmp_path, pki, client):
    with etcd_support.Etcd(tmp_path, pki) as server:
        connected = client(server.endpoint, deadline=10)
        put_v2(server, pki, "/kept", "x")
        assert connected.tree_v2("/kept") == {"/kept": "x"}
        server.stop()
        server.start()
        assert connected.tree_v2("/kept") == {"/kept": "x"}


def test_the_first_of_two_endpoints_may_be_down(etcd, client):
    connected = client(free_endpoint(), etcd.endpoint)
    assert connected.tree_v2("/nothing/there") == {}


def test_a_silent_endpoint_leaves_time_for_the_next(etcd, server, client):
    connected = client(server(lambda connection: connection.recv(65536) and time.sleep(5)), etcd.endpoint)
    assert connected.tree_v2("/nothing/there") == {}


# What does not ----------------------------------------------------------------------------------


def error_of(connected, call=lambda connected: connected.tree_v2("/calico"), within=60):
    start = time.monotonic()
    with pytest.raises(calico_etcd.EtcdError) as caught:
        call(connected)
    assert time.monotonic() - start < within
    return caught.value


def test_refused(client):
    endpoint = free_endpoint()
    error = error_of(client(endpoint))
    assert type(error) is calico_etcd.Refused
    assert error.endpoint == endpoint
    assert endpoint in str(error)


@pytest.mark.parametrize(
    "call",
    [
        lambda connected: connected.tree_v2("/calico"),
        lambda connected: connected.range_v3("/calico/"),
        lambda connected: connected.server(),
        lambda connected: connected.health(),
    ],
    ids=["tree_v2", "range_v3", "server", "health"],
)
def test_frozen(etcd, client, call):
    """Before the first connection, and in the middle of one that is kept."""
    kept = client(etcd.endpoint, deadline=0.7)
    call(kept)
    etcd.freeze()
    try:
        assert type(error_of(client(etcd.endpoint, deadline=0.7), call)) is calico_etcd.TimedOut
        assert type(error_of(kept, call)) is calico_etcd.TimedOut
    finally:
        etcd.thaw()
    call(kept)


def test_wrong_ca(etcd, client):
    error = error_of(client(etcd.endpoint, ca="wrong-ca"))
    assert type(error) is calico_etcd.UntrustedServer
    assert "not signed by the CA" in str(error)


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ("expired-server", "has expired"),
        ("future-server", "not valid yet"),
        ("elsewhere", "does not name address 127.0.0.1"),
    ],
)
def test_a_servers_certificate_that_proves_nothing(server, pki, client, certificate, words):
    error = error_of(client(server(answer(b"{}"), pki, certificate)))
    assert type(error) is calico_etcd.UntrustedServer
    assert words in str(error)


def test_host_name_mismatch(server, pki, client):
    endpoint = server(answer(b"{}"), pki, "elsewhere").replace("127.0.0.1", "localhost")
    error = error_of(client(endpoint))
    assert type(error) is calico_etcd.UntrustedServer
    assert "does not name host localhost" in str(error)


@pytest.mark.parametrize("name", [None, "expired", "foreign"])
def test_client_certificate_refused(etcd, client, name):
    error = error_of(client(etcd.endpoint, name=name))
    assert type(error) is calico_etcd.ClientCertificateRefused
    assert ("given none" in str(error)) is (name is None)


def test_plain_http_on_a_tls_port(etcd, client):
    endpoint = etcd.endpoint.replace("https", "http")
    error = error_of(client(endpoint))
    assert type(error) is calico_etcd.Broken
    assert "https://" in str(error)


def test_tls_on_a_plain_port(server, client):
    error = error_of(client(server(answer(b"{}", "400 Bad Request")).replace("http", "https")))
    assert type(error) is calico_etcd.Broken
    assert "http://" in str(error)


def test_v2_api_off(tmp_path, pki, client):
    server = etcd_support.Etcd(tmp_path, pki)
    server.start(enable_v2=False)
    try:
        connected = client(server.endpoint)
        error = error_of(connected)
        assert type(error) is calico_etcd.NoSuchApi
        assert "--enable-v2" in str(error)
        assert connected.server()["apis"] == ["v3"]
    finally:
        server.stop()


def test_no_gateway(server, client):
    endpoint = server(answer(b"404 page not found\n", "404 Not Found"))
    error = error_of(client(endpoint), lambda connected: connected.range_v3("/calico/"))
    assert type(error) is calico_etcd.NoSuchApi


def test_older_gateway(server, client):
    def handle(connection):
        while True:
            asked = connection.recv(65536)
            if not asked:
                return
            head = asked.rpartition(b"POST ")
            if not head[1]:
                continue  # the rest of the request before
            known = head[2].startswith(b"/v3alpha/")
            body = b'{"header": {"revision": "5"}}' if known else b"404 page not found\n"
            status = b"200 OK" if known else b"404 Not Found"
            connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    assert client(server(handle)).range_v3("/calico/") == ({}, 5)


def test_trickling(server, client):
    def handle(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)

    assert type(error_of(client(server(handle)))) is calico_etcd.TimedOut


def test_trickling_headers(server, pki, client):
    def handle(connection):
        connection.recv(65536)
        while True:
            connection.sendall(b"H")
            time.sleep(0.05)

    assert type(error_of(client(server(handle, pki)))) is calico_etcd.TimedOut


@pytest.mark.parametrize(
    "handle",
    [
        lambda connection: connection.recv(65536) and connection.sendall(b"SSH-2.0-OpenSSH_9\r\n"),
        lambda connection: connection.recv(65536) and connection.sendall(b"\0" * 70000),
        answer(b"<html>It works!</html>"),
        answer(b"[]"),
        answer(b"{}"),
        answer(b'{"node": {"dir": true, "nodes": [{"key": "/calico/x"}]}}'),
        answer(b'{"node": null}'),
        answer(b"<html>no</html>", "404 Not Found"),
    ],
)
def test_garbage(server, client, handle):
    error = error_of(client(server(handle)))
    assert type(error) in (calico_etcd.NotEtcd, calico_etcd.NoSuchApi)
    assert "calico" not in str(error.endpoint)


@pytest.mark.parametrize(
    "handle",
    [
        lambda connection: None,
        lambda connection: connection.recv(65536) and None,
        lambda connection: (
            connection.recv(65536)
            and connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"node"')
        ),
        answer(b'{"errorCode": 300, "message": "Raft Internal Error", "cause": "timeout"}', "500 Oops"),
        answer(b"upstream is away", "502 Bad Gateway"),
    ],
)
def test_broken(server, pki, client, handle):
    assert type(error_of(client(server(handle)))) is calico_etcd.Broken
    assert type(error_of(client(server(handle, pki)))) is calico_etcd.Broken


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_denied(server, client, status):
    error = error_of(client(server(answer(b'{"message":"Insufficient credentials"}', status))))
    assert type(error) is calico_etcd.Denied
    assert "Insufficient credentials" in str(error)


def test_user_and_password(server, client):
    seen = []

    def handle(connection):
        seen.append(connection.recv(65536))
        body = b'{"node": {"dir": true}}'
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    connected = client(server(handle), username="root", password="pass:word")
    assert connected.tree_v2("/calico") == {}
    assert b"Authorization: Basic cm9vdDpwYXNzOndvcmQ=" in seen[0]


def test_unknown_host(client):
    error = error_of(client("https://no-such-host.invalid:2379"))
    assert type(error) is calico_etcd.UnknownHost
    assert "no-such-host.invalid" in str(error)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:2379", "ftp://127.0.0.1", "https://", "https://h:x", ""])
def test_bad_endpoints(client, endpoint):
    with pytest.raises(calico_etcd.BadEndpoint):
        client(endpoint)


def test_one_reason_for_each_endpoint(etcd, client):
    refused, untrusted = free_endpoint(), etcd.endpoint
    error = error_of(client(refused, untrusted, ca="wrong-ca"))
    assert type(error) is calico_etcd.Unreachable
    assert {endpoint: type(reason) for endpoint, reason in error.reasons.items()} == {
        refused: calico_etcd.Refused,
        untrusted: calico_etcd.UntrustedServer,
    }
    assert refused in str(error) and untrusted in str(error)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cert": "missing.pem", "key": "calico-key.pem"}, "No such file"),
        ({"cert": "calico.pem", "key": "etcd-key.pem"}, "does not belong"),
        ({"cert": "calico-key.pem", "key": "calico-key.pem"}, "not a PEM certificate"),
        ({"ca": "missing.pem"}, "CA"),
        ({"ca": "calico-key.pem"}, "CA"),
    ],
)
def test_unusable_certificates(pki, options, words):
    paths = {part: pki / name for part, name in options.items()}
    with pytest.raises(calico_etcd.BadCredentials, match=words):
        calico_etcd.Client(["https://127.0.0.1:2379"], **paths)


def test_unusable_texts(pki):
    texts = {
        "ca": (pki / "ca.pem").read_text(),
        "cert": (pki / "calico.pem").read_text(),
        "key": (pki / "etcd-key.pem").read_text(),
    }
    with pytest.raises(calico_etcd.BadCredentials, match="does not belong"):
        calico_etcd.Client(["https://127.0.0.1:2379"], tls=texts)
    with pytest.raises(calico_etcd.BadCredentials, match="CA"):
        calico_etcd.Client(["https://127.0.0.1:2379"], tls={"ca": "nonsense"})
