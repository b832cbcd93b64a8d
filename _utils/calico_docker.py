"""
Docker's Engine API over its socket: is there such an image or container, and what is it?

The command line client would do, but each call starts a program; a run that changes nothing asks
several times. Read-only; standard library only, no Salt.
"""

import http.client
import json
import os
import re
import socket
import urllib.parse

import calico_runtimes

SOCKET = "/var/run/docker.sock"
LARGEST_ANSWER = 16 * 1024 * 1024


class DockerError(calico_runtimes.EngineError):
    """Docker gave no usable answer; the text says why."""


class NotRunning(DockerError, calico_runtimes.NotRunning):
    """Docker does not run."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def image(name, path=SOCKET, timeout=30):
    """The image of this name as ``docker image inspect`` shows it (dict), or None."""
    return _inspect("/images/%s/json" % urllib.parse.quote(name), path, timeout)


def container(name, path=SOCKET, timeout=30):
    """The container of this name as ``docker container inspect`` shows it (dict), or None."""
    return _inspect("/containers/%s/json" % urllib.parse.quote(name), path, timeout)


def version(path=SOCKET, timeout=30):
    """
    Docker's own version (text), None where another engine answers in its place, such as podman.

    From the name that it gives itself in an answer: asked for its version outright, it starts programs.
    """
    _status, headers, _body = _get("/_ping", path, timeout)
    found = re.match(r"Docker/(\S+)", headers.get("Server") or "")
    return found[1] if found else None


def root_directory(path=SOCKET, timeout=30):
    """Where Docker keeps its images (text), None where it does not tell."""
    return (_inspect("/info", path, timeout) or {}).get("DockerRootDir")


def _get(url, path, timeout):
    """Status, headers and body of the answer to a request."""
    connection = _Connection(path, timeout)
    try:
        connection.request("GET", url)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read(LARGEST_ANSWER)
    except FileNotFoundError as err:
        raise NotRunning("there is no %s: docker does not run" % path) from err
    except ConnectionRefusedError as err:
        raise NotRunning("nobody listens at %s: docker does not run" % path) from err
    except ConnectionResetError as err:
        # As systemd does it that holds the socket and cannot start docker.
        raise NotRunning("docker at %s: it closed the connection without an answer" % path) from err
    except socket.timeout as err:
        raise DockerError("docker gave no answer at %s within %s s" % (path, timeout)) from err
    except (OSError, http.client.HTTPException) as err:
        reason = os.strerror(err.errno) if getattr(err, "errno", None) else repr(err)
        raise DockerError("docker at %s: %s" % (path, reason)) from err
    finally:
        connection.close()


def _inspect(url, path, timeout):
    status, _headers, body = _get(url, path, timeout)
    if status == 404:
        return None
    try:
        found = json.loads(body)
    except ValueError as err:
        raise DockerError("docker at %s answers no JSON: %r" % (path, body[:80])) from err
    if status != 200 or not isinstance(found, dict):
        said = found.get("message") if isinstance(found, dict) else body[:80]
        raise DockerError("docker at %s: HTTP %d, %s" % (path, status, said))
    return found
