"""
podman, asked by its own program: is there such an image or container, and what is it?

Its socket (``podman.socket``) speaks docker's API, but most hosts do not switch it on. Answers have the
shape of docker's, so that nobody else needs to know which of the two was asked. Read-only; standard
library only, no Salt.
"""

import json
import re

import calico_host
import calico_runtimes

PROGRAM = "podman"


class PodmanError(calico_runtimes.EngineError):
    """podman gave no usable answer; the text says why."""


class NotRunning(PodmanError, calico_runtimes.NotRunning):
    """There is no podman on this host."""


def image(name, timeout=30):
    """The image of this name as ``docker image inspect`` would show it (dict), or None."""
    found = _inspect("image", name, timeout)
    return found and dict(found, Id=_id(found.get("Id")))


def container(name, timeout=30):
    """The container of this name as ``docker container inspect`` would show it (dict), or None."""
    found = _inspect("container", name, timeout)
    return found and as_docker(found)


def as_docker(inspected):
    """A container as ``podman container inspect`` shows it, in docker's words (dict)."""
    config = dict(inspected.get("Config") or {})
    started_as = (config.get("CreateCommand") or [""])[-1]
    # podman shows the whole name (localhost/calico/node:v3.22.5), docker the one that was given.
    if started_as and (config.get("Image") or "").endswith("/" + started_as):
        config["Image"] = started_as
    host = dict(inspected.get("HostConfig") or {})
    host["Binds"] = [_bind(item) for item in host.get("Binds") or ()]
    return dict(inspected, Image=_id(inspected.get("Image")), Config=config, HostConfig=host)


def version(timeout=30):
    """podman's version (text), None where it does not tell."""
    found = re.search(r"version (\d\S*)", _run(["--version"], timeout))
    return found[1] if found else None


def root_directory(timeout=30):
    """Where podman keeps its images (text), None where it does not tell."""
    return _run(["info", "--format", "{{.Store.GraphRoot}}"], timeout).strip() or None


def _id(text):
    return "sha256:" + text if text and ":" not in text else text


def _bind(shown):
    """``/a:/b:ro,rprivate,rbind`` as ``/a:/b:ro``."""
    source, target, options = (shown + "::").split(":")[:3]
    return ":".join([source, target, *(["ro"] if "ro" in options.split(",") else [])])


def _inspect(kind, name, timeout):
    # What is not there and what cannot be read end with the same code, other than with `exists`. A
    # thing that came between the two questions is asked for once more.
    for _attempt in range(2):
        try:
            shown = _run([kind, "inspect", name], timeout)
        except PodmanError as err:
            if not _exists(kind, name, timeout):
                return None
            failure = err
            continue
        try:
            (found,) = json.loads(shown)
        except (TypeError, ValueError) as err:
            raise PodmanError("podman %s inspect answers no JSON: %r" % (kind, shown[:80])) from err
        if not isinstance(found, dict):
            raise PodmanError("podman %s inspect answers no object: %r" % (kind, shown[:80]))
        return found
    raise failure


def _exists(kind, name, timeout):
    try:
        _run([kind, "exists", name], timeout)
    except PodmanError as err:
        # 1 is its word for no; but so ends a podman, too, that cannot read its configuration. One that can
        # list what it has is to be believed.
        if err.__cause__.code != 1:
            raise
        _run([kind, "ls", "--quiet"], timeout)
        return False
    return True


def _run(arguments, timeout):
    try:
        return calico_host.run([PROGRAM, *arguments], timeout)
    except calico_host.HostError as err:
        raise (NotRunning if err.kind == "missing" else PodmanError)(str(err)) from err
