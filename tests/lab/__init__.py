"""The test lab: hosts with systemd, Docker and a Salt minion, a Salt master, and etcd with TLS."""
