"""Prevent server-side request forgery (SSRF): fetch only from public or configured addresses.

Scope: resolving a host name, and the decision about its addresses.
Out of scope: sending requests. The caller connects to the resolved address, so that a second DNS
response has no effect.

An external server controls its redirects. A redirect into this network could reach a service that
trusts this machine: loopback, a router, or a cloud's metadata at 169.254.169.254. A feed may move,
so its redirects are followed after this check. An answer model, a provider or a webhook receives a
key or a notice, so its redirects are not followed.
Ranges: https://www.iana.org/assignments/iana-ipv4-special-registry (`ipaddress.is_global`)
"""
# pyright: strict

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from twin_resources.errors import TwinError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def resolve_addresses(url: str, *, trusted_url: str) -> list[str]:
    """Resolve the host of a URL once; the caller connects to one of the addresses.

    Args:
        trusted_url: the configured URL. Its host may be on this machine or in this network. A
            link-local address (`169.254…`) must be configured as an IP address.

    Raises:
        TwinError: the host does not exist, or has an address in this network that is not
            configured.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    action = f"fetch from {host or url[:200]!r}"
    try:
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        address_infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise TwinError(
            action, found=f"the host has no address ({error})", next_step="check the URL"
        ) from error
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in address_infos))
    is_trusted_host = host.lower() == (urlsplit(trusted_url).hostname or "").lower()
    for address in addresses:
        if not _is_fetch_allowed(address, host=host, is_trusted_host=is_trusted_host):
            raise TwinError(
                action,
                found=f"it resolves to {address}, which is inside this machine or network; the "
                f"configured host is {urlsplit(trusted_url).hostname}",
                next_step="configure that address itself if you trust it",
            )
    return addresses


def _is_fetch_allowed(address: str, *, host: str, is_trusted_host: bool) -> bool:
    effective_address = _extract_embedded_ipv4(ipaddress.ip_address(address))
    if is_trusted_host and (not effective_address.is_link_local or host == address):
        return True
    return effective_address.is_global and not effective_address.is_multicast


def _extract_embedded_ipv4(address: Address) -> Address:
    """Return the IPv4 address embedded in an IPv6 address, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
