"""What a datastore's reader hands to the rest, whatever the generation."""

from __future__ import annotations

from dataclasses import dataclass

from environment import Interface, Network


@dataclass
class Node:
    name: str
    ipv4: Interface | None = None
    ipv6: Interface | None = None
    as_number: int | None = None
    cluster_id: str = ""  # of a route reflector
    exists: bool = False  # in the datastore, with addresses or without

    def address(self, version: int) -> Interface | None:
        return {4: self.ipv4, 6: self.ipv6}[version]

    def set_address(self, version: int, address: Interface) -> None:
        setattr(self, f"ipv{version}", address)


@dataclass(frozen=True)
class Peer:
    ip: str
    as_number: str
    port: int | None = None
    cluster_id: str = ""  # of a peer that is a reflector itself
    from_node_address: bool = True
    keeps_next_hop: bool = False


@dataclass(frozen=True)
class Endpoint:
    """A workload's interface and the addresses behind it."""

    interface: str
    networks: tuple[Network, ...]
