"""Personal data in what readers write: found by pattern, replaced by what it was.

Belongs here: patterns of e-mail addresses, phone numbers, payment cards, IP addresses and keys.
Does not belong here: names and addresses in prose (no pattern finds those), who calls this.

A card number must satisfy the Luhn check (ISO/IEC 7812-1), an IPv4 address has four numbers up to
255; a phone number needs a plus, a leading zero or separators, so that years, prices and version
numbers stay. Replacing is idempotent: replaced text has nothing left to find.
"""
# pyright: strict

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

# Raise it with every change of a pattern: tables made with another one are made anew.
PRIVACY_VERSION = "1"

_Test = Callable[[str], bool]
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,24}(?![\w-])")
_KEY = re.compile(
    r"(?<![\w-])(?:"
    r"(?:sk|pk|rk|ghp|gho|ghs|github_pat|glpat|xox[abpr]|hf|whsec|AIza)[-_]?[A-Za-z0-9_-]{16,}"
    r"|AKIA[0-9A-Z]{16}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
    r")(?![\w-])"
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_PASSWORD = re.compile(
    r"(?i)\b(password|passwd|pwd|secret|api[_ -]?key|token)(\s*[:=]\s*)(?!\[)(\S{6,})"
)
_CARD = re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d.,-]*\d)")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_PHONE = re.compile(
    r"(?<![\w.,/:+-])(?:"
    r"\+\d{1,3}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){5,12}"
    r"|\(\d{2,5}\)[ .-]?\d(?:[ .-]?\d){4,10}"
    r"|0\d{1,4}[ /-]\d(?:[ -]?\d){4,10}"
    r"|\d{3}[ .-]\d{3}[ .-]\d{4}"
    r")(?![\w-]|[.,:]\d)"
)


def replace_personal(text: str) -> str:
    """The text with `[e-mail]`, `[key]`, `[card]`, `[ip address]` and `[phone]` in their place."""
    return count_personal(text)[0]


def count_personal(text: str) -> tuple[str, dict[str, int]]:
    """The replaced text, and how many of each kind were replaced (kinds that occurred only)."""
    counts: dict[str, int] = {}
    # Keys before anything that may be part of one; cards before phones, which are shorter.
    for kind, pattern, is_one in _PATTERNS:
        text, found = _replace(text, kind, pattern, is_one)
        if found:
            counts[kind] = counts.get(kind, 0) + found
    return text, counts


def _replace(text: str, kind: str, pattern: re.Pattern[str], is_one: _Test) -> tuple[str, int]:
    found = 0

    def put(match: re.Match[str]) -> str:
        nonlocal found
        if not is_one(match[0]):
            return match[0]
        found += 1
        said_before = f"{match[1]}{match[2]}" if pattern is _PASSWORD else ""
        return f"{said_before}[{kind}]"

    return pattern.sub(put, text), found


def _always(_found: str) -> bool:
    return True


def _is_card(found: str) -> bool:
    """Luhn's check; repeated digits satisfy it too and are no card."""
    digits = [int(character) for character in found if character.isdigit()]
    if len(set(digits)) < 2:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _is_address(found: str) -> bool:
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    # "::" stands in code (C++, Rust); an address of a reader has more to it
    return sum(character.isalnum() for character in found) >= 4


_PATTERNS: tuple[tuple[str, re.Pattern[str], _Test], ...] = (
    ("key", _PRIVATE_KEY, _always),
    ("key", _KEY, _always),
    ("key", _PASSWORD, _always),
    ("e-mail", _EMAIL, _always),
    ("card", _CARD, _is_card),
    ("ip address", _IPV4, _is_address),
    ("ip address", _IPV6, _is_address),
    ("phone", _PHONE, _always),
)
