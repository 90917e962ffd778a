"""Find phone numbers.

Scope: the formats of phone numbers, and whether a run of digits is a phone number.
Out of scope: the numbering plans and the search for them in a text
(https://github.com/daviddrysdale/python-phonenumbers), other kinds of numbers (`other_numbers.py`).

A run of digits is a phone number if it meets one of these conditions:

- It has a country code (`+49 …`, `0049 …`) and is valid in that country's plan.
- It has a North American format (`415-555-2671`, `(415) 555-2671 x12`), which numbers reserved for
  fiction have too.
- It has a trunk zero and groups, and is valid in some country's plan (`030 1234567`).
- It is valid in the plan of the writer's region and has that plan's groups (`612 34 56 78`, ES).
  Without separators, it needs a trunk zero and ten digits (`0612345678`, FR).
- It follows a phone word ("call me at 22 12 34 56").

Dates, times, ranges of dates or times, numbers with a unit or a price, and longer runs (a hex dump,
a row of numbers) stay unchanged.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator

from twin_resources.privacy.kinds import TextSpan
from twin_resources.privacy.other_numbers import is_other_number

_SEPARATORS = r" .\-/()\u00a0\u202f\u2010-\u2013"
# The pattern is limited to ASCII: Japanese and Chinese put no space between word and number.
_NUMBER_GOES_ON = r"[A-Za-z0-9_]|[.,:/%-]\d"
_NO_NUMBER_AFTER = rf"(?!{_NUMBER_GOES_ON})"
_EXTENSION = r"(?: ?(?:x|ext\.?|extension) ?\d{1,6})?"
_NUMBER_LINE = re.compile(r"^.*\d(?:[^\w\n]{0,4}\d){6}.*$", re.MULTILINE)
_COUNTRY_PREFIX = re.compile(r"[+\uff0b][ (]?\d|(?<![\w.])00[1-9]")
# The exchange may start with 0 or 1, as in fictitious numbers, but not after a space (a table).
_NORTH_AMERICAN = re.compile(
    r"[(2-9](?<![\w.+/(].)(?:(?<=\()[2-9]\d\d\) ?\d{3}[ .\u2011-]?|(?<=\d)\d\d(?:[.\u2011-]\d{3}"
    rf"[.\u2011-]|[ .\u2011-][2-9]\d\d[ .\u2011-]))\d{{4}}{_EXTENSION}{_NO_NUMBER_AFTER}"
)
_NORTH_AMERICAN_PREFIX = re.compile(r"(?:^|[^\w.+/-])((?:\+|00)?1[ .-])$")
_TRUNK_ZERO = re.compile(
    rf"[(0](?<![A-Za-z0-9_.,:/+(-].)(?<!\d[ .-].)(?:(?<=0)|(?<=\()0)[1-9]\d{{0,4}}\)?"
    rf"[{_SEPARATORS}]{{1,3}}\d(?:[{_SEPARATORS}]?\d){{3,10}}"
    rf"(?![ .-]?\d){_EXTENSION}{_NO_NUMBER_AFTER}"
)
_LONGER_NUMBER_BEFORE = re.compile(r"[A-Za-z0-9_.,:/+#=$€£-]$")
_LONGER_NUMBER_AFTER = re.compile(_NUMBER_GOES_ON)
_PHONE_WORDS = (
    "(?:my|our) number|phone|telephone|tel|mobile|mob|cell|fax|whats ?app|sms|hotline|dial"
    "|(?:call|text|reach|ring) (?:me|us|him|her|them)(?: (?:at|on|under))?|meine nummer|telefon"
    "|telefonnummer|handy|handynummer|mobil|rufnummer|durchwahl|ruf mich|mon num[ée]ro"
    "|t[ée]l[ée]phone|t[ée]l|portable|appelle[zr]?(?:-moi)?|mi n[úu]mero|tel[ée]fono|m[óo]vil"
    "|ll[áa]m[ae](?:me|nos)?(?: al)?|tlf|tfno|celular|telefone|fone|telem[óo]vel|ligue|cellulare"
    "|chiamami|recapito|telefoon|mobiel|bel me|telefonn[íi]|puhelin|puh|телефон[аеу]?|тел|факс|моб"
    "|звоните|позвоните"
)
_PHONE_WORD_BEFORE = re.compile(
    rf"(?i)(?:(?<![\[\w])(?:{_PHONE_WORDS})(?![\w\]])|電話(?:番号)?|携帯|电话|手机|号码|전화)"
    r"(?![\"']\s?:\s?$)[^\d\n\[]{0,16}$"  # not a count in JSON
)
_GROUPED_DIGITS = re.compile(
    r"[(\d](?<![A-Za-z0-9_.,:/+#=$€£-].)(?:[ .\-/)\u00a0\u202f\u2010-\u2013]{0,2}\d){5,15}"
    + _NO_NUMBER_AFTER
)
_DECIMAL = re.compile(r"\d+\.\d+$")
_GROUPED_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:([ .])\d{3})(?:\1\d{3})*$")
_DOTTED_PAIRS = re.compile(r"\d\d(?:\.\d\d)+$")
_DOTTED_PHONE_LENGTH = 14  # "06.12.34.56.78"; four dotted pairs are a version or a date with time
# Counts include the trunk zero. Shorter numbers of small towns need a phone word or a region.
_MIN_DIGITS_ANYWHERE, _MIN_DIGITS_IN_HOME_REGION, _MIN_DIGITS_UNGROUPED = 9, 8, 10
# Countries with a trunk zero, likeliest first; the search ends at the first valid plan.
_TRUNK_ZERO_REGIONS = (
    *("GB", "DE", "FR", "IT", "NL", "BE", "AT", "CH", "AU", "NZ", "JP", "KR", "IN", "ZA", "SE"),
    *("FI", "IE", "TR", "UA", "RO", "BG", "HR", "RS", "SI", "SK", "IL", "EG", "NG", "KE", "ID"),
    *("TH", "PH", "MY", "VN", "TW", "CN", "BR", "AR", "PK", "BD"),
)
_REGIONS_BY_LANGUAGE = {
    **{"en": ("US", "GB"), "de": ("DE", "AT", "CH"), "fr": ("FR", "BE", "CH"), "es": ("ES", "MX")},
    **{"pt": ("BR", "PT"), "it": ("IT", "CH"), "nl": ("NL", "BE"), "sv": ("SE",), "da": ("DK",)},
    **{"nb": ("NO",), "no": ("NO",), "fi": ("FI",), "pl": ("PL",), "cs": ("CZ",), "tr": ("TR",)},
    **{"ru": ("RU",), "uk": ("UA",), "ja": ("JP",), "zh": ("CN", "TW"), "ko": ("KR",)},
    **{"el": ("GR",), "hu": ("HU",), "ro": ("RO",), "bg": ("BG",), "hi": ("IN",), "he": ("IL",)},
}


def resolve_regions(region: str) -> tuple[str, ...]:
    """Return the country of a hint such as `DE` or `de-CH`, or the countries of a language.

    Args:
        region: an ISO 3166 alpha-2 code in upper case, or a BCP 47 language tag; it may be unknown
            or "".
    """
    from phonenumbers import SUPPORTED_REGIONS

    region_subtag = region.replace("_", "-").rpartition("-")[2]
    if region_subtag.isupper() and region_subtag in SUPPORTED_REGIONS:
        return (region_subtag,)
    return _REGIONS_BY_LANGUAGE.get(region.split("-", maxsplit=1)[0].lower() if region else "", ())


def find_phones(text: str, *, region: str = "") -> Iterator[TextSpan]:
    """Yield spans of kind `phone`; they may overlap each other and spans of other kinds.

    Args:
        region: the writer's region; see `resolve_regions`.
    """
    regions = resolve_regions(region)
    yield from _find_by_plan(text, regions)
    for match in _NORTH_AMERICAN.finditer(text):
        start = match.start()
        prefix = _NORTH_AMERICAN_PREFIX.search(text, max(0, start - 5), start)
        if prefix:
            start = prefix.start(1)
        elif text[start - 1 : start] == "-":  # this is part of a longer number
            continue
        if not is_other_number(text, start, match.end()):
            yield TextSpan(start, match.end(), "phone")
    for match in _TRUNK_ZERO.finditer(text):
        number = re.split("[xe]", match[0], maxsplit=1)[0]
        digit_count = sum(map(str.isdigit, number))
        is_short = digit_count < _MIN_DIGITS_ANYWHERE
        is_version = _DOTTED_PAIRS.match(match[0]) and len(match[0]) != _DOTTED_PHONE_LENGTH
        if digit_count < _MIN_DIGITS_IN_HOME_REGION or is_version:
            continue
        plans = regions if is_short else _TRUNK_ZERO_REGIONS
        if not is_other_number(text, *match.span()) and _is_valid(number, plans):
            yield TextSpan(*match.span(), "phone")
    yield from _find_after_phone_words(text)


def _find_by_plan(text: str, regions: tuple[str, ...]) -> Iterator[TextSpan]:
    """Yield numbers with a country code, and those with the groups of the writer's country."""
    from phonenumbers import Leniency, country_code_for_region

    # Any region whose prefix of foreign numbers is 00 finds the numbers with a country code.
    has_prefix = _COUNTRY_PREFIX.search(text) is not None
    for start, end in _match_lines(text, "DE", Leniency.VALID) if has_prefix else ():
        is_prefixed = text.startswith("00", start) and not is_other_number(text, start, end)
        if is_prefixed or text[start:end].lstrip("(").startswith("+"):
            yield TextSpan(start, end, "phone")
    for home in regions:
        if country_code_for_region(home) == 1:
            continue  # the North American format is found below, whatever the region
        for start, end in _match_lines(text, home, Leniency.EXACT_GROUPING):
            number = text[start:end].lstrip("([")
            digit_count = sum(map(str.isdigit, number))
            is_plain = digit_count < _MIN_DIGITS_IN_HOME_REGION or (
                number.isdigit()
                and (
                    number[0] != "0" or digit_count < _MIN_DIGITS_UNGROUPED or len(set(number)) < 4
                )
            )
            is_longer = _LONGER_NUMBER_BEFORE.search(
                text, max(0, start - 1), start
            ) or _LONGER_NUMBER_AFTER.match(text, end)
            is_other = _DECIMAL.match(number) or is_other_number(text, start, end)
            if not (is_plain or is_longer or is_other):
                yield TextSpan(start, end, "phone")


def _match_lines(text: str, region: str, leniency: int) -> Iterator[tuple[int, int]]:
    """Yield the numbers that the library finds in lines with seven digits, which few lines have."""
    from phonenumbers import PhoneNumberMatcher

    for line in _NUMBER_LINE.finditer(text):
        for match in PhoneNumberMatcher(line[0], region, leniency=leniency):
            yield line.start() + match.start, line.start() + match.end


def _find_after_phone_words(text: str) -> Iterator[TextSpan]:
    for match in _GROUPED_DIGITS.finditer(text):
        start, end = match.span()
        number = match[0]
        if not _PHONE_WORD_BEFORE.search(text[max(0, start - 40) : start]):
            continue
        is_amount = _GROUPED_THOUSANDS.match(number) and (
            sum(map(str.isdigit, number)) % 3 or number.endswith("000")
        )  # "phone: 1 200 000"; nine digits in groups of three may be a phone number
        if not (is_amount or is_other_number(text, start, end, is_announced=True)):
            yield TextSpan(start, end, "phone")


def _is_valid(number: str, regions: tuple[str, ...]) -> bool:
    """Return whether a number is valid in the plan of one of the regions."""
    import phonenumbers

    for region in regions:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(number, region)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False
