"""docker's Engine API over its socket: what is there, what is not, and everything that is no answer."""

import contextlib
import json
import socket
import threading
import time

import calico_docker
import pytest

INSPECTED = {"Id": "sha256:1", "RepoDigests": ["calico/node@sha256:2"]}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "docker.sock")


@pytest.fixture
def docker(path):
    """Answer each connection with these bytes; the requests as a list. None keeps silent."""
    with contextlib.ExitStack() as stack:

        def start(answer):
            listener = socket.socket(socket.AF_UNIX)
            stack.callback(listener.close)
            listener.bind(path)
            listener.listen()
            requests = []

            def serve():
                with contextlib.suppress(OSError):
                    while True:
                        connection = listener.accept()[0]
                        stack.callback(connection.close)
                        requests.append(connection.recv(65536).decode())
                        if answer is not None:
                            connection.sendall(answer)
                            connection.close()

            threading.Thread(target=serve, daemon=True).start()
            return requests

        yield start


def answer(status, body, headers=""):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("function", "name", "url"),
    [
        (calico_docker.image, "calico/node:v2.6.2", "/images/calico/node%3Av2.6.2/json"),
        (calico_docker.image, "r.example.org:5000/a/b:1", "/images/r.example.org%3A5000/a/b%3A1/json"),
        (calico_docker.container, "calico-node", "/containers/calico-node/json"),
        (calico_docker.container, "a b\r\nX: y", "/containers/a%20b%0D%0AX%3A%20y/json"),
    ],
)
def test_what_is_there(docker, path, function, name, url):
    requests = docker(answer("200 OK", INSPECTED))
    assert function(name, path) == INSPECTED
    assert requests[0].startswith(f"GET {url} HTTP/1.1\r\n")


def test_an_answer_in_chunks(docker, path):
    body = json.dumps(INSPECTED).encode()
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:], b""))
    docker(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert calico_docker.image("a", path) == INSPECTED


@pytest.mark.parametrize("function", [calico_docker.image, calico_docker.container])
def test_what_is_not_there(docker, path, function):
    docker(answer("404 Not Found", {"message": "No such image: a"}))
    assert function("a", path) is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (answer("500 Internal Server Error", {"message": "driver failed"}), "HTTP 500, driver failed"),
        (answer("500 Internal Server Error", b"oops"), "answers no JSON"),
        (answer("200 OK", b""), "answers no JSON"),
        (answer("200 OK", b"\xff\xfe{"), "answers no JSON"),
        (answer("200 OK", [1]), "HTTP 200"),
        (answer("200 OK", None), "HTTP 200"),
        (answer("200 OK", INSPECTED)[:-5], "docker at"),
        (b"", "docker at"),
        (b"\x00\x01garbage\r\n\r\n", "docker at"),
        (b"HTTP/1.1 200 OK\r\n", "docker at"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "docker at"),
    ],
)
def test_what_is_no_answer_says_why(docker, path, given, reason):
    docker(given)
    with pytest.raises(calico_docker.DockerError) as caught:
        calico_docker.image("a", path)
    assert reason in str(caught.value)
    assert path in str(caught.value)


def test_a_docker_that_keeps_silent_ends_within_the_time(docker, path):
    docker(None)
    begin = time.monotonic()
    with pytest.raises(calico_docker.DockerError, match=r"no answer .* within 0.3 s"):
        calico_docker.image("a", path, timeout=0.3)
    assert time.monotonic() - begin < 60


def test_a_docker_that_does_not_run(path):
    with pytest.raises(calico_docker.DockerError, match="docker does not run"):
        calico_docker.image("a", path)
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(path)
    with pytest.raises(calico_docker.DockerError, match=r"nobody listens .* docker does not run"):
        calico_docker.image("a", path)


def test_a_path_that_is_no_socket_or_too_long(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / ("x" * 200)):
        with pytest.raises(calico_docker.DockerError):
            calico_docker.image("a", str(path))


def test_a_flood_is_no_answer(docker, path, monkeypatch):
    monkeypatch.setattr(calico_docker, "LARGEST_ANSWER", 1000)
    docker(answer("200 OK", {"Id": "x" * 5000}))
    with pytest.raises(calico_docker.DockerError, match="no JSON"):
        calico_docker.image("a", path)
