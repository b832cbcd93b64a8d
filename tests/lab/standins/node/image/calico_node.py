#!/usr/bin/python3.11 -Es
"""`calico-node`, the one program of 3: what it is asked to be, it becomes; and its health checks."""

from __future__ import annotations

import importlib
import os
import re
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import process

_ROLES = {"startup": "startup", "felix": "felix", "confd": "confd"}
_THRESHOLD = 30.0
_LINE_S = 2.0
_SESSION = re.compile(r"(?:Global|Node|Mesh)_(.+)")


class NotReady(Exception):
    """Why, without the words that are the same in every case."""


def felix(what: str) -> None:
    host = os.environ.get("FELIX_HEALTHHOST") or "localhost"
    port = os.environ.get("FELIX_HEALTHPORT") or "9099"
    try:
        urllib.request.urlopen(f"http://{host}:{port}/{what}", timeout=_THRESHOLD).close()
    except urllib.error.HTTPError as error:
        raise NotReady(f"{what} probe reporting {error.code}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise NotReady(f'Get "http://{host}:{port}/{what}": {reason}') from error


def bird_ready(name: str, version: int, threshold: float) -> None:
    try:
        age = time.time() - Path(process.generation().node_name_file).stat().st_mtime
    except OSError as error:
        raise NotReady(f"Failed to stat() nodename file: {error}") from error
    states = {
        peer: state
        for line in _asked(name, version, "show protocols")
        if len(words := line.split()) > 5 and words[1] == "BGP" and (match := _SESSION.fullmatch(words[0]))
        for peer, state in [(match[1].replace("_", "." if version == 4 else ":"), words[5])]
    }
    down = [peer for peer, state in states.items() if state != "Established"]
    if not states:
        return
    if (age < threshold and down) or len(down) == len(states):
        raise NotReady(f"BGP not established with {','.join(down)}")
    status = "\n".join(_asked(name, version, "show status"))
    if age < threshold and "graceful restart" in status.lower():
        raise NotReady("graceful restart in progress")


def _asked(name: str, version: int, command: str) -> list[str]:
    """BIRD's answer without its codes."""
    path = f"/var/run/calico/{name}.ctl"
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(_LINE_S)
        try:
            control.connect(path)
        except OSError as error:
            reason = f"dial unix {path}: connect: {(error.strerror or str(error)).lower()}"
            raise NotReady(f"unable to connect to BIRDv{version} socket: {reason}") from error
        lines = []
        with control.makefile("rw") as stream:
            stream.readline()  # the greeting
            stream.write(f"{command}\n")
            stream.flush()
            for line in stream:
                lines.append(re.sub(r"^(\d{4}[- ]| )", "", line.rstrip("\n")))
                if re.match(r"\d{4} ", line):
                    break
        return lines


def bird_live(name: str) -> None:
    running = {process.shown(number) for number in process.numbers()}
    for service, there in (
        ("confd", any(words[1:2] == ("-confd",) for words in running)),
        (name, any(words[0] == name for words in running)),
    ):
        if not there:
            raise NotReady(f"Service {service} is not running. Output << down: {service} >>")


def checks(asked_for: set[str], threshold: float):
    """(what to do, the words before its reason)"""
    known = {
        "felix-live": (lambda: felix("liveness"), "Felix is not live"),
        "bird-live": (lambda: bird_live("bird"), "bird/confd is not live"),
        "bird6-live": (lambda: bird_live("bird6"), "bird6/confd is not live"),
        "felix-ready": (lambda: felix("readiness"), "felix is not ready"),
        "bird-ready": (lambda: bird_ready("bird", 4, threshold), "BIRD is not ready"),
        "bird6-ready": (lambda: bird_ready("bird6", 6, threshold), "BIRD6 is not ready"),
    }
    return [check for name, check in known.items() if name in asked_for]


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def main(argv: list[str]) -> int:
    options = {word.lstrip("-").partition("=")[0]: word.partition("=")[2] for word in argv}
    if "v" in options:
        print(process.version())
        return 0
    for option, module in _ROLES.items():
        if option in options:
            return importlib.import_module(module).main()
    wanted = checks(set(options), _seconds(options.get("threshold-time") or f"{_THRESHOLD}"))
    if not wanted:
        print("No valid options provided.", flush=True)
        return 1
    for check, words in wanted:
        try:
            check()
        except NotReady as error:
            print(f"calico/node is not ready: {words}: {error}", end="")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
