"""A stand-in for docker: an Engine API on a socket, and a ``docker`` command that changes what it knows."""

import http.server
import json
import socketserver
import stat
import sys
import threading
import urllib.parse
from pathlib import Path

# Loads an archive by taking its name for the image's; the pull of another image than `pullable` fails.
COMMAND = """\
#!{python}
import json, sys
path = {path!r}
known = json.load(open(path))
verb, last = sys.argv[1], sys.argv[-1]
known["calls"].append(sys.argv[1:])
code = 0
if verb == "load":
    known["images"][known["loads"]] = {{"Id": "sha256:" + "a" * 64, "RepoDigests": []}}
elif verb == "pull" and last == known["pullable"]:
    known["images"][last] = {{"Id": "sha256:" + "b" * 64, "RepoDigests": []}}
elif verb == "tag":
    (known["images"][last],) = [
        image for name, image in known["images"].items() if sys.argv[2] in (name, image["Id"])
    ][:1]
elif verb == "rmi" and last in known["images"]:
    del known["images"][last]
elif verb == "rm":
    known["containers"].pop(last, None)
else:
    print("Error response from daemon: manifest for %s not found" % last, file=sys.stderr)
    code = 1
json.dump(known, open(path, "w"))
sys.exit(code)
"""


class Engine:
    """Context manager. ``images`` and ``containers`` are set by :meth:`knows`, by name."""

    def __init__(self, directory):
        self.socket = Path(directory) / "docker.sock"
        self._path = Path(directory) / "docker.json"

    def knows(self, images=(), containers=(), loads=None, pullable=None, version="20.10.24", root="/var"):
        """What docker has now (dicts of ``inspect`` answers), and what loading and pulling give."""
        known = {"images": dict(images), "containers": dict(containers), "calls": []}
        engine = {"version": version, "_ping": {"OK": True}, "info": {"DockerRootDir": root}}
        self._path.write_text(json.dumps(dict(known, loads=loads, pullable=pullable, **engine)))

    @property
    def state(self):
        return json.loads(self._path.read_text())

    def install(self, directory):
        """Write the ``docker`` command into a directory of programs."""
        command = Path(directory) / "docker"
        command.write_text(COMMAND.format(python=sys.executable, path=str(self._path)))
        command.chmod(command.stat().st_mode | stat.S_IXUSR)

    def __enter__(self):
        self.knows()
        engine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                kind, _, rest = urllib.parse.unquote(self.path.lstrip("/")).partition("/")
                known = engine.state.get(kind, {})
                # Docker itself has no name: /info, /_ping.
                found = known.get(rest.removesuffix("/json")) if rest else known
                body = json.dumps(found or {"message": "No such " + kind}).encode()
                self.send_response(200 if found else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def version_string(self):
                return f"Docker/{engine.state['version']} (linux)"

            def address_string(self):
                return "unix"

            def log_message(self, *_):
                pass

        self._server = socketserver.ThreadingUnixStreamServer(str(self.socket), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self.socket.unlink()
