"""Which hosts and addresses a workflow may call, and within which limits. Pure.

By default the public Internet, and nothing else: addresses that `ipaddress` calls global, but for
those named below. Private networks, a cluster's Services among them, are opened by listing a host's
name, an address or a network. Loopback, link-local, cloud metadata and the like are opened by an
address or a network only: whoever answers for a name could make it mean them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# The part of IPv6 that the Internet uses. `is_global` is true of much of the rest as well.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# Global by `is_global` of some Python or other, and yet not the Internet: protocol assignments,
# where Oracle's metadata are; Azure's host services; documentation.
_NOT_PUBLIC = _networks("192.0.0.0/24", "168.63.129.16/32", "3fff::/20")
_PRIVATE = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
# In private networks, and never meant by a name: Alibaba, AWS, Google, Scaleway.
_METADATA = _networks("100.100.100.200/32", "fd00:ec2::/32", "fd20:ce::254/128", "fd00:42::42/128")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (mapped, NAT64, 6to4), or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_public(address: Address) -> bool:
    """Whether the address is one of the public Internet."""
    address = embedded(address)
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not _within(address, _NOT_PUBLIC)


def is_private(address: Address) -> bool:
    """Whether the address is one of a private network that a name may stand for."""
    address = embedded(address)
    return _within(address, _PRIVATE) and not _within(address, _METADATA)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """The egress rules and limits of `call: http`.

    allow: hosts (`api.example.com`, `*.example.com`), addresses and networks (`10.0.0.0/8`), or
        `*` for every public host. Empty: every public host. With entries: nothing but these.
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
                        f"HTTP_ALLOW: {entry!r} is neither host, address nor network; write hosts "
                        "without scheme and port, such as api.example.com or *.example.com"
                    ) from None
                hosts.append(entry.lower().rstrip("."))
        object.__setattr__(self, "_networks", tuple(networks))
        object.__setattr__(self, "_hosts", tuple(hosts))

    def permitted(self, host: str, addresses: Iterable[str]) -> list[str]:
        """Those of a host's addresses that may be connected to."""
        host = host.lower().rstrip(".")
        listed = any(
            entry == host or (entry.startswith("*.") and host.endswith(entry[1:]))
            for entry in self._hosts
        )
        named = listed or "*" in self._hosts or not (self._hosts or self._networks)
        return [
            text
            for text in addresses
            if self._permits(ipaddress.ip_address(text), named=named, listed=listed)
        ]

    def _permits(self, address: Address, *, named: bool, listed: bool) -> bool:
        if _within(address, self._networks) or _within(embedded(address), self._networks):
            return True
        return (named and is_public(address)) or (listed and is_private(address))
