"""Which hosts and addresses a workflow may call, and within which limits. Pure.

Refused unless an address or network in the allow-list covers them: loopback, link-local, cloud
metadata, unspecified, multicast and reserved addresses. They are never opened by a host's name:
whoever answers for the name could make it mean them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Metadata and host services outside the link-local ranges: AWS over IPv6, Alibaba, Azure.
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")
)
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, NAT64, 6to4), or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_forbidden(address: Address) -> bool:
    """Whether the address is one that is refused by default."""
    address = embedded(address)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or address in _METADATA
        or address in _THIS_NETWORK
    )


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """The egress rules and limits of `call: http`.

    allow: hosts (`api.example.com`, `*.example.com`), addresses and networks (`10.0.0.0/8`), or
        `*` for any host. Empty: any host. With entries: nothing but these.
    """

    allow: tuple[str, ...] = ()
    connect_seconds: float = 5.0
    total_seconds: float = 30.0
    max_response_bytes: int = 10 * 1024 * 1024
    max_redirects: int = 5
    _networks: tuple[Network, ...] = field(init=False, repr=False, compare=False)
    _hosts: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        networks: list[Network] = []
        hosts: list[str] = []
        for entry in filter(None, (entry.strip() for entry in self.allow)):
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                if "/" in entry or ":" in entry or "*" in entry.removeprefix("*"):
                    raise ValueError(
                        f"HTTP_ALLOW: {entry!r} is no host, address or network; write hosts "
                        "without scheme and port, such as api.example.com or *.example.com"
                    ) from None
                hosts.append(entry.lower().rstrip("."))
        object.__setattr__(self, "_networks", tuple(networks))
        object.__setattr__(self, "_hosts", tuple(hosts))

    def permitted(self, host: str, addresses: Iterable[str]) -> list[str]:
        """Those of a host's addresses that may be connected to."""
        by_name = self._names(host.lower().rstrip("."))
        return [
            text for text in addresses if self._permits(ipaddress.ip_address(text), by_name=by_name)
        ]

    def _names(self, host: str) -> bool:
        if not self._networks and not self._hosts:
            return True
        return any(
            entry in ("*", host) or (entry.startswith("*.") and host.endswith(entry[1:]))
            for entry in self._hosts
        )

    def _permits(self, address: Address, *, by_name: bool) -> bool:
        real = embedded(address)
        if any(real in network or address in network for network in self._networks):
            return True
        return by_name and not is_forbidden(address)
