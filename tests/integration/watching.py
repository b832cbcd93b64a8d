"""Nobody looks all the time, a test does: what `calico.status` and `calico.ready` say, twice a second."""

import contextlib
import json
import subprocess
import threading
from dataclasses import dataclass

from tests.lab import docker

# Loaded once: a command each time would cost a second, and two processors have to serve three hosts.
SCRIPT = r"""
import json, sys, time
sys.path.insert(0, "/opt/salt")
import salt.client, salt.config
caller = salt.client.Caller(mopts=salt.config.minion_config("/etc/salt/minion"))
while True:
    begin = time.time()
    found = {}
    try:
        found = caller.cmd("calico." + sys.argv[1])
        reasons = found["reasons"]
    except Exception as err:
        reasons = [str(err)]
    print(json.dumps([begin, time.time(), reasons, found.get("missing", [])]), flush=True)
    time.sleep(0.5)
"""


@dataclass
class Look:
    begin: float
    end: float
    reasons: list
    missing: list


class Watcher:
    """One function on one host, asked again and again until it is closed."""

    def __init__(self, host, function):
        self.name = f"calico.{function} on {host.name}"
        host.write("/opt/lab-watch.py", SCRIPT)
        self._host, self._function = host, function
        self._looks = []
        self._news = threading.Condition()
        command = ["exec", host.name, "python3.11", "/opt/lab-watch.py", function]
        self._process = subprocess.Popen(docker.command(*command), stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            with self._news:
                self._looks.append(Look(*json.loads(line)))
                self._news.notify_all()

    def looks(self, since):
        with self._news:
            return [look for look in self._looks if look.begin >= since]

    def first(self, fits, since, timeout, what):
        """The first look from a time on that fits; looks that are still to come are waited for."""

        def found():
            return next((look for look in self._looks if look.begin >= since and fits(look)), None)

        with self._news:
            look = self._news.wait_for(found, timeout)
            last = self._looks[-1].reasons if self._looks else "nothing yet"
            assert look, f"{self.name} does not say within {timeout} s: {what}; it says {last}"
            return look

    def close(self):
        # The client's end alone would leave the program running in the host.
        pattern = f"lab-watch.py {self._function}"
        with contextlib.suppress(subprocess.SubprocessError):
            self._host.exec(["pkill", "-KILL", "-f", pattern], check=False)
        self._process.kill()
        self._process.wait()
