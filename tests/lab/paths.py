"""Where the lab keeps things and what it calls them: everything derives from the checkout's path."""

import hashlib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PREFIX = "cflab-" + hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]

STATE = CHECKOUT / ".lab"
CACHE = STATE / "cache"
LOGS = STATE / "logs"
# Mounted read-only into every host as /opt/lab.
ARTIFACTS = STATE / "artifacts"
# Unix socket paths may have 107 bytes at most, so sockets cannot live in a checkout of any depth.
RUN = Path("/run") / PREFIX
# The network interface's name: 15 characters at most.
BRIDGE = PREFIX

VENV = CHECKOUT / ".venv"
SITE_PACKAGES = VENV / "lib" / "python3.11" / "site-packages"
