"""Find payment cards and bank accounts.

Scope: card numbers (ISO/IEC 7812: the Luhn checksum, the issuers' prefixes and lengths) and IBANs
(ISO 13616: the checksum and the country's structure).
Out of scope: account numbers without a checksum, which look like any number.
Checksums: python-stdnum (`stdnum.luhn`, `stdnum.iban`), https://arthurdejong.org/python-stdnum.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from twin_resources.privacy.kinds import TextSpan

_CARD = re.compile(
    r"\d(?<![\w.,+-]\d)(?:"
    r"\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?"
    r"|\d{3}([ -])\d{6}\2\d{4,5}"
    r"|\d{12,18}"
    r")(?!\w|[.,-]\d)"
)
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})$"  # Visa
    r"|(?:5[1-5]|2[2-7])\d{14}$"  # Mastercard
    r"|3[47]\d{13}$"  # American Express
    r"|3(?:0[0-5]|[68]\d)\d{11}$"  # Diners Club
    r"|35\d{14}$"  # JCB
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}$"  # Discover
    r"|62\d{14,17}$"  # UnionPay
    r"|(?:50|5[6-9]|6\d)\d{14}$"  # Maestro
)
_IBAN = re.compile(r"[A-Za-z](?<![\w+/-][A-Za-z])[A-Za-z]\d\d(?:[ -]?[A-Za-z0-9]){11,30}")


def find_cards(text: str) -> Iterator[TextSpan]:
    """Yield spans of kind `card`; they do not overlap each other."""
    from stdnum import luhn

    for match in _CARD.finditer(text):
        digits = "".join(character for character in match[0] if character.isdigit())
        # A repeated digit may pass the checksum but is not a card number.
        if len(set(digits)) > 1 and _ISSUERS.match(digits) and luhn.is_valid(digits):
            yield TextSpan(match.start(), match.end(), "card")


def find_ibans(text: str, *, check_bank: bool = True) -> Iterator[TextSpan]:
    """Yield spans of kind `iban`; they may overlap spans of other kinds.

    Args:
        check_bank: whether to check the bank too, for countries whose banks python-stdnum knows.
    """
    from stdnum import iban

    match = _IBAN.search(text)
    while match:
        start = match.start()
        length = _get_iban_length(match[0][:2].upper())
        end = start + _find_end(match[0], length)  # prose may follow: "DE89 … 00 is mine"
        if (
            end > start
            and not text[end : end + 1].isalnum()
            and iban.is_valid(text[start:end], check_country=check_bank)
        ):
            yield TextSpan(start, end, "iban")
            match = _IBAN.search(text, end)
        else:
            match = _IBAN.search(text, start + 2)


@cache
def _get_iban_length(country: str) -> int:
    """Return the length of a country's IBANs, or 0 if it has none."""
    from stdnum import numdb

    structure = str(numdb.get("iban").info(country)[0][1].get("bban", ""))
    return 4 + sum(map(int, re.findall(r"(\d+)!", structure))) if structure else 0


def _find_end(candidate: str, length: int) -> int:
    """Return the end of the first `length` alphanumeric characters, or 0 if there are fewer."""
    for index, character in enumerate(candidate):
        length -= character.isalnum()
        if length == 0:
            return index + 1
    return 0
