"""Find phone numbers.

Scope: the formats of phone numbers, and whether a run of digits is a phone number.
Out of scope: the numbering plans (https://github.com/daviddrysdale/python-phonenumbers), other
kinds of numbers (`other_numbers.py`).

A run of digits is a phone number if it meets one of these conditions:

- It has a country code (`+49 …`, `0049 …`) and is valid in that country's plan. A number with a
  plausible length and grouping also counts, because area codes may be newer than the plan.
- It has a North American format (`415-555-2671`, `(415) 555-2671 x12`).
- It has a trunk zero and groups, and is valid in some country's plan (`030 1234567`).
- It is valid in the plan of the writer's region and has that plan's groups (`612 34 56 78`, ES).
  Without separators, it needs a trunk zero and ten digits (`0612345678`, FR).
- It follows a phone word ("call me at 22 12 34 56").

Dates, times, ranges of dates or times, numbers with a unit or a price, and longer runs (a hex dump,
a row of numbers) stay unchanged. German numbers may have five or more digits, so a plan alone would
accept "120-150" and "1888/89". Numbers reserved for fiction are also redacted, because a reader
cannot recognize them.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from twin_resources.privacy.kinds import TextSpan
from twin_resources.privacy.other_numbers import (
    has_other_label,
    has_unit,
    is_date_or_range,
    is_in_hex_dump,
    is_in_number_list,
    is_postcode,
    is_sequence_or_repeated_digit,
)

_SEPARATORS = r" .\-/()\u00a0\u202f\u2010-\u2013"
# The pattern is limited to ASCII: Japanese and Chinese put no space between word and number.
_NO_NUMBER_AFTER = r"(?![A-Za-z0-9_]|[.,:/%-]\d)"
_EXTENSION = r"(?: ?(?:x|ext\.?|extension) ?\d{1,6})?"
_INTERNATIONAL = re.compile(
    rf"[+0](?<![\w+.].)(?:(?<=\+) ?|(?<=0)0(?=[1-9]\d{{0,2}}[{_SEPARATORS}]))"
    rf"\(?\d(?:[{_SEPARATORS}]{{0,3}}\d){{6,16}}(?!\d){_EXTENSION}"
)
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
_GROUPED_DIGITS = re.compile(
    rf"[(\d](?<![A-Za-z0-9_.,:/+#=$€£-].)(?:[{_SEPARATORS}]{{0,2}}\d){{5,15}}{_NO_NUMBER_AFTER}"
)
_GROUP_END = re.compile(rf"\d(?=[{_SEPARATORS}]|$)")
_DIGIT_GROUP = re.compile(r"\d+")
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
    rf"(?i)(?:(?<![\[\w])(?:{_PHONE_WORDS})(?![\w\]])|電話(?:番号)?|携帯|电话|手机|号码|전화)[^\d\n\[]{{0,16}}$"
)
_JSON_COUNT_BEFORE = re.compile(r"(?i)(?:mobile|mob|cell|sms)[\"']\s?:\s?$")  # a count in JSON
# After the area code, a phone number has only one kind of separator. Columns of a listing and lists
# of small numbers often have several kinds.
_FIRST_SEPARATOR = re.compile(r"(?: |[.\u2010-\u2013-]| ?/ ?| - )?")
_IP_ADDRESS = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|(?![\d.]))){4}")
_DOTTED_PAIRS = re.compile(r"\d\d(?:\.\d\d)+$")
_DOTTED_PHONE_LENGTH = 14  # "06.12.34.56.78"; four dotted pairs are a version or a date with time
_MAX_END_CANDIDATES = 3
_MAX_LABEL_CHARACTERS = 40
# Counts include the trunk zero. Shorter numbers of small towns need a phone word or a region.
_MIN_DIGITS_ANYWHERE, _MIN_DIGITS_IN_HOME_REGION, _MIN_DIGITS_UNGROUPED = 9, 8, 10
_MIN_DIGITS_WITHOUT_TRUNK_ZERO = 8
_MIN_DIGITS_AFTER_LABEL = 6
_GROUPED_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:([ .])\d{3})(?:\1\d{3})*$")
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
    yield from _find_international_numbers(text)
    yield from _find_north_american_numbers(text)
    yield from _find_trunk_zero_numbers(text, regions)
    yield from _find_grouped_numbers(text, regions)


def _find_international_numbers(text: str) -> Iterator[TextSpan]:
    for match in _INTERNATIONAL.finditer(text):
        start, end = match.start(), match.start() + _find_international_end(match[0])
        if end == start or _is_followed_by_word_character(text, end):
            continue
        if text[start] == "0" and (
            is_in_hex_dump(text, start, end) or is_in_number_list(text, start, end)
        ):
            continue
        yield TextSpan(start, end, "phone")


def _find_north_american_numbers(text: str) -> Iterator[TextSpan]:
    for match in _NORTH_AMERICAN.finditer(text):
        start = match.start()
        prefix = _NORTH_AMERICAN_PREFIX.search(text, max(0, start - 5), start)
        if prefix:
            start = prefix.start(1)
        elif text[start - 1 : start] == "-":  # this is part of a longer number
            continue
        if not has_other_label(text, start) and not is_sequence_or_repeated_digit(
            text[start : match.end()]
        ):
            yield TextSpan(start, match.end(), "phone")


def _find_trunk_zero_numbers(text: str, regions: Sequence[str]) -> Iterator[TextSpan]:
    for match in _TRUNK_ZERO.finditer(text):
        digits = _extract_digits(match[0])
        if len(digits) < (_MIN_DIGITS_IN_HOME_REGION if regions else _MIN_DIGITS_ANYWHERE):
            continue
        if _is_another_number(text, *match.span()):
            continue
        if _DOTTED_PAIRS.match(match[0]) and len(match[0]) != _DOTTED_PHONE_LENGTH:
            continue
        plan_regions = regions if len(digits) < _MIN_DIGITS_ANYWHERE else _TRUNK_ZERO_REGIONS
        if _is_valid_in_any_region(digits, plan_regions):
            yield TextSpan(match.start(), match.end(), "phone")


def _find_grouped_numbers(text: str, regions: Sequence[str]) -> Iterator[TextSpan]:
    """Yield numbers with the grouping of the writer's country, or after a phone word."""
    match = _GROUPED_DIGITS.search(text)
    while match:
        start, candidate = match.start(), match[0]
        has_phone_word = _has_phone_word_before(text, start)
        end = _find_labeled_end(text, start, candidate) if has_phone_word else 0
        if not end:
            end = _find_national_end(candidate, regions)
            if end and _is_another_number(text, start, start + end):
                end = 0
        if end:
            yield TextSpan(start, start + end, "phone")
        # A number may start within a run ("in 2019 612 34 56 78"), so each group is tried once.
        group_end = _GROUP_END.search(candidate)
        next_start = start + (end or (group_end.end() if group_end else len(candidate)))
        match = _GROUPED_DIGITS.search(text, next_start)


def _has_phone_word_before(text: str, start: int) -> bool:
    """Return whether a phone word precedes the number. For speed, letters are checked first."""
    preceding_text = text[max(0, start - _MAX_LABEL_CHARACTERS) : start]
    if (
        not any(map(str.isalpha, preceding_text[-8:]))
        or _PHONE_WORD_BEFORE.search(preceding_text) is None
    ):
        return False
    return not (text[start : start + 1].isdigit() and _JSON_COUNT_BEFORE.search(preceding_text))


def _find_labeled_end(text: str, start: int, candidate: str) -> int:
    """Return the end of a number after a phone word, or 0 if it is a count or a date."""
    bracket = candidate.find("(", 1)
    end = bracket if bracket > 0 and ")" not in candidate[bracket:] else len(candidate)
    number_text = candidate[:end].rstrip(" -.")
    end = len(number_text)
    if (
        len(_extract_digits(number_text)) < _MIN_DIGITS_AFTER_LABEL
        or is_date_or_range(number_text)
        or is_sequence_or_repeated_digit(number_text)
    ):
        return 0
    if _GROUPED_THOUSANDS.match(number_text) and len(_extract_digits(number_text)) % 3 != 0:
        return 0  # "phone: 1 200 000"; nine digits in groups of three may be a phone number
    if number_text.endswith("000") and _GROUPED_THOUSANDS.match(number_text):
        return 0
    return 0 if has_unit(text, start, start + end) else end


def _is_another_number(text: str, start: int, end: int) -> bool:
    """Return whether a candidate is another kind of number, such as a date or an amount."""
    return (
        is_date_or_range(text[start:end])
        or is_sequence_or_repeated_digit(text[start:end])
        or has_unit(text, start, end)
        or is_in_hex_dump(text, start, end)
        or is_in_number_list(text, start, end)
        or has_other_label(text, start)
        or is_postcode(text, start, end)
    )


def _is_followed_by_word_character(text: str, end: int) -> bool:
    return text[end : end + 1].isascii() and (
        text[end : end + 1].isalnum() or text[end : end + 1] == "_"
    )


def _find_international_end(text: str) -> int:
    """Return the end of the phone number in the candidate text, or 0 if there is none."""
    prefix_offset = text.startswith("00")
    number = "+" + text[2:] if prefix_offset else text
    ends = _find_candidate_ends(number)
    for end in ends:
        if _is_phone_number(number[:end], None):
            return end + prefix_offset
    is_grouped = 3 <= len(_GROUP_END.findall(number)) <= 6
    return (
        ends[0] + prefix_offset
        if is_grouped and _is_phone_number(number[: ends[0]], None, accept_possible=True)
        else 0
    )


def _find_national_end(text: str, regions: Sequence[str]) -> int:
    if not regions or _IP_ADDRESS.match(text.removeprefix("(")):
        return 0
    for end in _find_candidate_ends(text):
        if any(_has_national_format(text[:end], region) for region in regions):
            return end
    return 0


def _has_national_format(number_text: str, region: str) -> bool:
    """Return whether the number is valid in the region's plan and has the plan's groups.

    Three groups of three digits also count if the plan has no trunk zero ("912 345 678", ES).
    Without separators, a number needs a trunk zero and ten digits: "01000001" may be eight bits.
    """
    digits = _extract_digits(number_text)
    if len(digits) < _MIN_DIGITS_WITHOUT_TRUNK_ZERO or not _compile_national_format(region).match(
        digits
    ):
        return False
    is_ungrouped = number_text.isdigit()
    if is_ungrouped and (
        number_text[0] != "0"
        or len(number_text) < _MIN_DIGITS_UNGROUPED
        or len(set(number_text)) < 4
    ):
        return False
    if not is_ungrouped and not _has_usual_grouping(number_text):
        return False
    printed_groups = _format_digit_groups(digits, region)
    if is_ungrouped:
        return "".join(printed_groups) == digits
    groups = tuple(_DIGIT_GROUP.findall(number_text))
    has_groups_of_three = [len(group) for group in groups] == [3, 3, 3]
    return groups == printed_groups or (has_groups_of_three and "".join(printed_groups) == digits)


def _has_usual_grouping(number_text: str) -> bool:
    without_brackets = number_text.replace("(", "").replace(")", "")
    first_separator, *other_separators = re.findall(r"\D+", without_brackets) or [""]
    return (
        len(set(other_separators)) < 2
        and all(len(separator) == 1 for separator in other_separators)
        and _FIRST_SEPARATOR.fullmatch(first_separator) is not None
        and not (
            first_separator == "." and not other_separators and number_text[0] != "0"
        )  # 3.484818891
    )


def _find_candidate_ends(text: str) -> list[int]:
    """Return the ends of the last groups, longest first, because another number may follow."""
    return [match.end() for match in _GROUP_END.finditer(text)][-1 : -1 - _MAX_END_CANDIDATES : -1]


def _is_valid_in_any_region(digits: str, regions: Sequence[str]) -> bool:
    return any(
        _compile_national_format(region).match(digits) and _is_phone_number(digits, region)
        for region in regions
    )


@lru_cache(maxsize=300)
def _compile_national_format(region: str) -> re.Pattern[str]:
    """Compile a region's national format; matching is 20 times cheaper than parsing."""
    from phonenumbers import PhoneMetadata

    plan = PhoneMetadata.metadata_for_region(region)
    national_pattern = (
        plan.general_desc.national_number_pattern if plan and plan.general_desc else None
    )
    trunk_prefix = plan.national_prefix_for_parsing if plan else None
    return re.compile(rf"(?:{trunk_prefix or ''})?(?:{national_pattern or ''})$")


def _format_digit_groups(digits: str, region: str) -> tuple[str, ...]:
    """Return the number's groups in the region's standard format, or () if it is invalid."""
    import phonenumbers

    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return ()
    if not phonenumbers.is_valid_number(number):
        return ()
    national_format = phonenumbers.PhoneNumberFormat.NATIONAL
    return tuple(_DIGIT_GROUP.findall(phonenumbers.format_number(number, national_format)))


def _is_phone_number(
    number_text: str, region: str | None, *, accept_possible: bool = False
) -> bool:
    """Return whether the number is valid in a plan; `accept_possible` checks only its length."""
    import phonenumbers

    try:
        number = phonenumbers.parse(number_text, region)
    except phonenumbers.NumberParseException:
        return False
    validate = phonenumbers.is_possible_number if accept_possible else phonenumbers.is_valid_number
    return validate(number)


def _extract_digits(number_text: str) -> str:
    """Return the digits without separators and extension."""
    number = re.split(r"[xe]", number_text, maxsplit=1)[0]
    return "".join(character for character in number if character.isdigit())
