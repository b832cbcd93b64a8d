"""What the root user of this machine may do."""

from pathlib import Path

# Bit numbers from linux/capability.h.
NUMBERS = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24}


def has(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> NUMBERS[name] & 1)
    return False
