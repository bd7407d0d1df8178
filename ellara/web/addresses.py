"""Whose connection it is: the client's address, behind proxies too, and the key under which its limits count. Pure.

Used by `serve` and `hypercorn_guard`, and by `admission`. Absent: names (nothing is looked up), and any belief in a header that
did not come from a trusted proxy.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import attrs

Address = IPv4Address | IPv6Address

UNKNOWN = ""
"""Counts for nobody: a trusted proxy's own connection."""


@attrs.frozen
class Proxies:
    """Those whose X-Forwarded-For is believed."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, names: Iterable[str]) -> Proxies:
        """Addresses or networks, as in `server.trusted_proxies`. Raises `ValueError`, which the settings have ruled out."""
        return cls(tuple(ip_network(name) for name in names))

    def include(self, address: str) -> bool:
        parsed = _parse(address) if self.networks else None
        return parsed is not None and self._include(parsed)

    def client(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The nearest address that no trusted proxy has; `peer` is the connection's. A proxy adds on the right whom it heard.

        Behind what is no address, the rest is not believed either: whoever wrote that may have written all of it.
        """
        if not self.include(peer):
            return peer
        forwarded = b",".join(value for name, value in headers if name == b"x-forwarded-for").decode("latin-1")
        believed = peer
        for text in reversed(forwarded.split(",")):
            address = _parse(text)
            if address is None:
                break
            believed = str(address)
            if not self._include(address):
                break
        return believed

    def _include(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def normal(host: str) -> str:
    """As a socket names its peer → as it is compared and counted: an IPv4 address in IPv6's clothes is an IPv4 address."""
    address = _parse(host)
    return UNKNOWN if address is None else str(address)


def limit_key(address: str) -> str:
    """What counts as one client: one IPv4 address, or a /64 of IPv6, as a household has. Source: RFC 6177."""
    if ":" not in address:
        return address
    return f"{IPv6Address(int(IPv6Address(address)) >> 64 << 64)}/64"


def _parse(text: str) -> Address | None:
    """Some proxies add a port: `192.0.2.1:4711`, `[2001:db8::1]:4711`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])  # a zone is this host's business
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
