"""Find IP addresses.

Scope: the format, and whether an address may belong to a person. Out of scope: host names.

Addresses that do not belong to a person stay unchanged. These are unrouted addresses (private
addresses of RFC 1918, loopback, link-local, documentation addresses of RFC 5737 and RFC 3849,
netmasks), public resolvers and networks (`203.0.112.0/20`). Version and section numbers with four
parts ("C99 § 6.3.2.3") also stay unchanged. A number counts as a version if it follows a word for a
version or if all its parts are below 32, which is true of 1 in 4,096 random addresses.
Registry: https://www.iana.org/assignments/iana-ipv4-special-registry, implemented by `ipaddress`.
"""
# pyright: strict

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from twin_resources.privacy.kinds import TextSpan

# In this module and the others, the lookbehind follows the first digit. A search is several times
# faster if the pattern starts with a character set instead of an assertion.
_IPV4 = re.compile(
    r"\d(?<![\w.#-]\d)(?<![A-Za-z]/\d)\d{0,2}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w-]|\.\w)(?!/(?:[12]?\d|3[01])\b)"
)
_IPV6 = re.compile(
    r"[23](?<![\w:.]\d)[0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])(?!/(?:\d\d?|1[01]\d|12[0-7])\b)"
)
_VERSION_BEFORE = re.compile(
    r"(?i)(?:\b(?:versions?|release|ver|build|rev|v)[ .:=]{1,2}|[=~^<>]=? ?)$"
)
_VERSION_NUMBER_LIMIT = 32
_PUBLIC_RESOLVERS = frozenset(
    (
        *("1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "149.112.112.112"),
        *("208.67.222.222", "208.67.220.220"),
        *("2001:4860:4860::8888", "2001:4860:4860::8844", "2606:4700:4700::1111"),
        *("2606:4700:4700::1001", "2620:fe::fe"),
    )
)


def find_ip_addresses(text: str) -> Iterator[TextSpan]:
    """Yield spans of kind `ip address`; they do not overlap each other."""
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            if _may_be_personal(match[0]) and not _is_version(text, match.start()):
                yield TextSpan(match.start(), match.end(), "ip address")


def _may_be_personal(address_text: str) -> bool:
    try:
        address = ipaddress.ip_address(address_text)
    except ValueError:
        return False
    if not address.is_global or address.is_multicast or str(address) in _PUBLIC_RESOLVERS:
        return False
    return address.version == 6 or any(number >= _VERSION_NUMBER_LIMIT for number in address.packed)


def _is_version(text: str, start: int) -> bool:
    return _VERSION_BEFORE.search(text[max(0, start - 12) : start]) is not None
