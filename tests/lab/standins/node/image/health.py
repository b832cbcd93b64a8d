"""Felix's health port."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RETRY_S = 1.0
_PATHS = ("/liveness", "/readiness")


class _Everywhere(ThreadingHTTPServer):
    """On all interfaces, IPv6 too where the kernel has it."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def serve(host: str, port: int, ready: Callable[[], bool]) -> None:
    """Answer for ever, on all addresses where HOST is empty; a port that is taken is tried again."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path not in _PATHS:
                status = HTTPStatus.NOT_FOUND
            elif ready():
                status = HTTPStatus.NO_CONTENT
            else:
                status = HTTPStatus.SERVICE_UNAVAILABLE
            self.send_response(status)
            if status != HTTPStatus.NO_CONTENT:
                self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_) -> None:
            """A health check every few seconds is no news."""

    while True:
        try:
            kind = _Everywhere if host in ("", "::") else ThreadingHTTPServer
            with kind((host, port), Handler) as server:
                server.serve_forever()
        except OSError as error:
            print(f"calico-felix: health port {port}: {error}", flush=True)
            time.sleep(_RETRY_S)
