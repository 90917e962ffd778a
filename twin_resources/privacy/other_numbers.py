"""Recognize numbers that are not personal data: amounts, dates, columns of a listing, ISBNs.

Scope: the formats and contexts of these numbers, which the searches for phone numbers and national
ids exclude.
Out of scope: numbers that are personal data (`phones.py`, `national_ids.py`).

Each function reads only a few characters around the number, so the cost is linear. A stream that is
delayed by 120 characters (`gateway/guards/streaming.py`) gets the same result.
"""
# pyright: strict

from __future__ import annotations

import re
from itertools import pairwise

_MAX_BEFORE, _MAX_AFTER = 24, 16  # characters read before and after a number
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_MONTH = r"(?:0?[1-9]|1[0-2])"
_YEAR = r"(?:1[0-9]|20)\d\d"
_TIME = r"(?:(?:[01]?\d|2[0-4])\.[0-5]\d|(?:[01]\d|2[0-4]) ?(?:00|15|30|45))"
_DATE = re.compile(
    rf"\(?(?:{_YEAR}[-./ ]{_MONTH}[-./ ]{_DAY}(?!\d)"
    rf"|{_DAY}([-./ ]){_MONTH}\1{_YEAR}(?!\d)|{_DAY}[-./]{_MONTH}[-./ ]{{1,2}}{_YEAR}(?!\d)"
    rf"|{_DAY}([-./]){_MONTH}\2\d\d(?!\2?\d)"
    rf"|{_DAY}\.{_MONTH}\.? ?[-\u2013/] ?{_DAY}\.{_MONTH}(?!\d)"
    rf"|{_YEAR} ?[-\u2013/ ] ?{_YEAR}(?!\d)|{_YEAR}(?:{_MONTH}{_DAY}){{1,2}}(?!\d))"
)
_TIME_RANGE = re.compile(rf"{_TIME} ?[-\u2013/] ?{_TIME}$")
_UNIT_AFTER = re.compile(
    r"(?i)(?:[ \u00a0-]?(?:[%‰°€$£¥₽²³]|円|元|원|万|億|亿|名|人|年)"
    r"|[ \u00a0-](?:euros?|eur|usd|chf|gbp|dollars?|pounds?|kr|k[čc]|z[łl]|reais|pesos|francs?"
    r"|franken|руб(?:л\w+)?|долл\w*|евро|гривен|mio|mrd|million(?:en|s|i)?|milhões|millones|тыс|млн"
    r"|uhr|h|hrs?|hours?|min(?:utes?|uten)?|sec|s|ms|px|dpi|pt|kb|mb|gb|tb|kib|mib|gib|bytes?|bits?"
    r"|hz|khz|mhz|ghz|k?w|kwh|m?ah|v|mv|mm|cm|m|km|qm|ha|mg|g|kg|t|ml|l|kcal|kj|kn|users?|people"
    r"|einwohner\w*|habitant\w*|abitanti|inwoners|человек|жителей|personen|personas|pessoas|persone"
    r"|years?|jahre|ans|años|anos|anni|jaar|лет|rows?|lines?|zeilen|tokens?|seiten|pages?)\b)"
)
_UNIT_BEFORE = re.compile(r"(?i)(?:[€$£¥₽]|\b(?:eur|usd|chf|gbp|r\$|rs|inr))[ \u00a0]?$")
_OTHER_LABEL = re.compile(
    r"(?i)(?:\b(?:isbn|issn|ean|gtin|doi|arxiv|rfc|iso|iec|din|ieee|ansi|cas|einecs|pmid|siren|siret"
    r"|asin|sku|oclc|lccn|uuid|guid|sha1?|md5|crc|version|build|pp?|pages?|seiten?|vol|bd|issue|commit"
    r"|cep|zip|plz|postcode|code postal|c[óo]digo postal|revision|rev|seed|hash|nonce|offset"
    r"|timestamp|epoch)\b|§|№)"
    r"(?:[-_ ]?1[03])?[^\w\n]{0,4}$"
)
_CODE_BEFORE = re.compile(r"[\w/&?#=%@$~\\]$|[\"']\s?:\s{0,2}$|=\s{1,2}$|[\[,(]\s{0,2}-$")
_CODE_AFTER = frozenset("/&_=%@")
_LONG_NUMBER_BEFORE = re.compile(r"\d{9,}[ |,;\]\n]{1,4}$")
_LONG_NUMBER_AFTER = re.compile(r"[ |,;\[\n]{1,4}\d{9}")
_POSTCODE = re.compile(r"\d{5}-\d{4}$")
_STATE_BEFORE = re.compile(r"(?<![A-Za-z])[A-Z]{2}[.,]?\s{1,2}$")
_MANY_GROUPS = 5
_GROUP = re.compile(r"\d+")
_PAIRS = re.compile(r"\d\d(?: {1,2}\d\d)+$")
_PAIR_BEFORE = re.compile(r"(?:^|\s)[0-9a-fA-F]{2} {1,2}$")
_PAIR_AFTER = re.compile(r" {1,2}[0-9a-fA-F]{2}(?!\w)")
_GROUPS_OF_FOUR = re.compile(r"\d{4}(?: \d{1,4})+$")
_GROUP_OF_FOUR_BEFORE = re.compile(r"(?:^|[\s:])[0-9a-fA-F]{4,8}:? {1,2}$")
_GROUP_OF_FOUR_AFTER = re.compile(r"(?: {1,2}[0-9a-fA-F]{4}(?![0-9A-Za-z_])|[a-f][0-9a-f]{0,3}\b)")
_NUMBERS_BEFORE = re.compile(r"(?<![\w.,])(?:\d[\d.,]{0,14} {1,3}){1,2}$")
_NUMBERS_AFTER = re.compile(r"(?: {1,3}\d{1,15}\b){1,2}")


def is_other_number(
    text: str, start: int, end: int, *, is_announced: bool = False, has_birth_date: bool = False
) -> bool:
    """Return whether a number is a date, an amount, a part of a listing or the like.

    Args:
        is_announced: whether a word before it says that it is a phone number, so that its
            neighbors do not count.
        has_birth_date: whether a date at its beginning does not count.
    """
    number, before = text[start:end], text[max(0, start - _MAX_BEFORE) : start]
    groups = [int(group) for group in _GROUP.findall(number)]
    digits = "".join(_GROUP.findall(number))
    # "01 02 03", "1-234-567-8910"
    is_consecutive = len(groups) > 2 and all(
        second - first == 1 for first, second in pairwise(groups)
    )
    if (
        (not has_birth_date and (_DATE.match(number) or _TIME_RANGE.match(number)))
        or is_consecutive
        or len(set(digits)) == 1
        or digits == "12345678910"
        or _UNIT_AFTER.match(text, end, end + _MAX_AFTER)  # "120-150 Euro"
        or _UNIT_BEFORE.search(before[-6:])
    ):
        return True
    if is_announced:
        return False
    return bool(
        _OTHER_LABEL.search(before)
        or _is_in_hex_dump(text, start, end)
        or _is_in_number_list(text, start, end, has_many_groups=len(groups) >= _MANY_GROUPS)
        # a ZIP code after a state, as in GNU licenses ("MA 02110-1301")
        or (_POSTCODE.match(number) and _STATE_BEFORE.search(before[-5:]))
    )


def _is_in_hex_dump(text: str, start: int, end: int) -> bool:
    """Return whether a number is part of hexadecimal groups of two or four digits."""
    number, before = text[start:end], text[max(0, start - 12) : start]
    if _PAIRS.match(number):
        return bool(_PAIR_BEFORE.search(before) or _PAIR_AFTER.match(text, end))
    return bool(_GROUPS_OF_FOUR.match(number)) and bool(
        _GROUP_OF_FOUR_BEFORE.search(before) or _GROUP_OF_FOUR_AFTER.match(text, end)
    )


def _is_in_number_list(text: str, start: int, end: int, *, has_many_groups: bool) -> bool:
    """Return whether a number is next to two others, or next to one if it has many groups."""
    neighbors = (
        _NUMBERS_BEFORE.search(text, max(0, start - 40), start),
        _NUMBERS_AFTER.match(text, end),
    )
    count = sum(len(match[0].split()) for match in neighbors if match)
    return count > (0 if has_many_groups and text[start] not in "0(" else 1)


def is_beside_long_number(text: str, start: int, end: int) -> bool:
    """Return whether a number is next to one with nine or more digits, as in a column of ids."""
    preceding_text = text[max(0, start - 24) : start]
    return (
        _LONG_NUMBER_BEFORE.search(preceding_text) is not None
        or _LONG_NUMBER_AFTER.match(text, end) is not None
    )


def is_code_value(text: str, start: int, end: int) -> bool:
    """Return whether a number is a value in a link, in JSON or in an assignment."""
    preceding_text, next_character = text[max(0, start - 6) : start], text[end : end + 1]
    return _CODE_BEFORE.search(preceding_text) is not None or next_character in _CODE_AFTER
