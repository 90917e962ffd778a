"""Whether an address may be fetched: what a person named, and else nothing inside this network.

Scope: looking a name up, and the one decision over what it leads to. Out of scope:
sending requests (whoever connects takes the looked-up address, so that no second answer of a name
server counts).

Another's server decides where it redirects to. In here it would reach what trusts this machine: its
own services on the loopback, a router, a cloud's metadata under 169.254.169.254. A feed moves, so
its redirects are followed past this check. An answer model, a provider or a webhook is sent a key
or a notice, so theirs are not followed at all.
Ranges: https://www.iana.org/assignments/iana-ipv4-special-registry (`ipaddress.is_global`)
"""
# pyright: strict

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from twin_resources.errors import TwinError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def addresses_of(url: str, *, named: str) -> list[str]:
    """The IP addresses that a URL leads to, looked up once; the connection goes to one of them.

    Args:
        named: the URL that a person named. Its host may be on this machine or in this network;
            link-local (`169.254…`) only where the number itself was named.

    Raises:
        TwinError: no such host, or one of its addresses is inside this network and nobody named it.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    tried = f"fetch from {host or url[:200]!r}"
    try:
        port = parts.port or _PORTS.get(parts.scheme, 0)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise TwinError(
            tried, found=f"no address of that name ({error})", next_step="check the address"
        ) from error
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    is_named = host.lower() == (urlsplit(named).hostname or "").lower()
    for address in addresses:
        if not _may_be_fetched(address, host=host, is_named=is_named):
            raise TwinError(
                tried,
                found=f"it leads to {address}, inside this machine or network, and "
                f"{urlsplit(named).hostname} was named",
                next_step="name that address itself if you trust it",
            )
    return addresses


def _may_be_fetched(address: str, *, host: str, is_named: bool) -> bool:
    reached = _reached(ipaddress.ip_address(address))
    if is_named and (not reached.is_link_local or host == address):
        return True
    return reached.is_global and not reached.is_multicast


def _reached(address: Address) -> Address:
    """The IPv4 address that is written into an IPv6 one, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
