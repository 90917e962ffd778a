"""Phone numbers.

Belongs here: the ways in which they are written, and when a run of digits is one. Does not belong
here: the numbering plans; those are phonenumbers' (https://github.com/daviddrysdale/python-phonenumbers).

A run of digits is a phone number when it
- has a country code (`+49 …`, `0049 …`) and the plan of that country knows it, or when it is
  grouped as one and only its length is right (an area code may be newer than the plan);
- is written as in North America (`415-555-2671`, `(415) 555-2671 x12`);
- starts with a trunk zero, is grouped, and some country's plan knows it (`030 1234567`);
- is grouped as people do, or starts with a zero, and the plan of the region that the caller names
  knows it (`612 34 56 78`, ES; `0612345678`, FR);
- stands right after a word for a phone ("call me at 22 12 34 56").
Kept: dates and ranges of years, runs that go on (a hex dump, a row of numbers). Numbers reserved
for fiction go too: a reader cannot tell them, and a text loses nothing by it.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from twin_resources.privacy.kinds import TextSpan

_GAP = r" .\-/()\u00a0\u202f\u2010-\u2013"
_AFTER = r"(?!\w|[.,:/%-]\d)"
_EXTENSION = r"(?: ?(?:x|ext\.?|extension) ?\d{1,6})?"
_INTERNATIONAL = re.compile(
    rf"[+0](?<![\w+.].)(?:(?<=\+) ?|(?<=0)0(?=[1-9]\d{{0,2}}[{_GAP}]))"
    rf"\(?\d(?:[{_GAP}]{{0,3}}\d){{6,16}}(?!\d){_EXTENSION}"
)
# the exchange may start with 0 or 1, as in made-up numbers, where no space could make it a table
_NORTH_AMERICAN = re.compile(
    r"[(2-9](?<![\w.+/(].)(?:(?<=\()[2-9]\d\d\) ?\d{3}[ .\u2011-]?|(?<=\d)\d\d(?:[.\u2011-]\d{3}"
    rf"[.\u2011-]|[ .\u2011-][2-9]\d\d[ .\u2011-]))\d{{4}}{_EXTENSION}{_AFTER}"
)
_NORTH_AMERICAN_PREFIX = re.compile(r"(?:^|[^\w.+/-])((?:\+|00)?1[ .-])$")
_TRUNK_ZERO = re.compile(
    rf"[(0](?<![\w.,:/+(-].)(?<!\d[ .-].)(?:(?<=0)|(?<=\()0)[1-9]\d{{0,4}}\)?[{_GAP}]{{1,3}}\d"
    rf"(?:[{_GAP}]?\d){{4,10}}(?![ .-]?\d){_EXTENSION}{_AFTER}"
)
_GROUPED = re.compile(rf"[(\d](?<![\w.,:/+#=$€£-].)(?:[{_GAP}]{{0,2}}\d){{5,15}}{_AFTER}")
_GROUP_END = re.compile(rf"\d(?=[{_GAP}]|$)")
_DATE = re.compile(
    r"\(?(?:(?:19|20)\d\d[-./ ]\d\d?[-./ ]\d\d?|\d\d?([-./])\d\d?\1(?:19|20)?\d\d(?!\1\d)"
    r"|(?:19|20)\d\d ?[-\u2013/ ] ?(?:19|20)\d\d)(?!\d)"
)
_WORDS = (
    "(?:my|our) number|phone|telephone|tel|mobile|mob|cell|fax|whats ?app|sms|hotline|dial"
    "|(?:call|text|reach|ring) (?:me|us)|meine nummer|telefon|telefonnummer|handy|handynummer"
    "|mobil|rufnummer|ruf mich|mon num[ée]ro|t[ée]l[ée]phone|t[ée]l|portable|appelle[zr]?(?:-moi)?"
    "|mi n[úu]mero|tel[ée]fono|m[óo]vil|ll[áa]m[ae]me|tlf|celular|telefone|telem[óo]vel|cellulare"
    "|chiamami|telefoon|mobiel|telefonn[íi]|puhelin|puh|телефон|тел"
)
_SAID = re.compile(
    rf"(?i)(?:(?<![\[\w])(?:{_WORDS})(?![\w\]])|電話|电话|手机|전화)[^\d\n\[]{{0,16}}$"
)
# After the area code people write one and the same mark, and groups of two digits or more: columns
# of a listing, lists of small numbers and versions have neither.
_FIRST_MARK = re.compile(r"\)?(?: |[.\u2010-\u2013-]| ?/ ?| - )?")
_ADDRESS = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|(?![\d.]))){4}")
_NUMBERS_BEFORE = re.compile(r"(?<![\w.,])(?:\d[\d.,]{0,14} {1,3}){1,2}$")
_NUMBERS_AFTER = re.compile(r"(?: {1,3}\d{1,15}\b){1,2}")
_MANY_GROUPS = 5
_PAIRS = re.compile(r"\d\d(?: {1,2}\d\d)+$")
_PAIR_BEFORE = re.compile(r"(?:^|\s)[0-9a-fA-F]{2} {1,2}$")
_PAIR_AFTER = re.compile(r" {1,2}[0-9a-fA-F]{2}(?!\w)")
_MOST_ENDS = 3
_LONGEST_LABEL = 40
# Countries with a trunk zero whose writers we expect first; the first that knows a number ends it.
_TRUNK_ZERO_REGIONS = (
    *("GB", "DE", "FR", "IT", "NL", "BE", "AT", "CH", "AU", "NZ", "JP", "KR", "IN", "ZA", "SE"),
    *("FI", "IE", "TR", "UA", "RO", "BG", "HR", "RS", "SI", "SK", "IL", "EG", "NG", "KE", "ID"),
    *("TH", "PH", "MY", "VN", "TW", "CN", "BR", "AR", "PK", "BD"),
)
_REGIONS_OF_LANGUAGE = {
    **{"en": ("US", "GB"), "de": ("DE", "AT", "CH"), "fr": ("FR", "BE", "CH"), "es": ("ES", "MX")},
    **{"pt": ("BR", "PT"), "it": ("IT", "CH"), "nl": ("NL", "BE"), "sv": ("SE",), "da": ("DK",)},
    **{"nb": ("NO",), "no": ("NO",), "fi": ("FI",), "pl": ("PL",), "cs": ("CZ",), "tr": ("TR",)},
    **{"ru": ("RU",), "uk": ("UA",), "ja": ("JP",), "zh": ("CN", "TW"), "ko": ("KR",)},
    **{"el": ("GR",), "hu": ("HU",), "ro": ("RO",), "bg": ("BG",), "hi": ("IN",), "he": ("IL",)},
}


def regions_of(region: str) -> tuple[str, ...]:
    """The countries that a hint names: `DE` one; `de-CH` one; `de` where it is spoken.

    Args:
        region: ISO 3166 alpha-2 in capitals, or a BCP 47 language tag. Unknown or "": none.
    """
    from phonenumbers import SUPPORTED_REGIONS

    last = region.replace("_", "-").rpartition("-")[2]
    if last.isupper() and last in SUPPORTED_REGIONS:
        return (last,)
    return _REGIONS_OF_LANGUAGE.get(region.split("-", maxsplit=1)[0].lower() if region else "", ())


def find_phones(text: str, *, region: str = "") -> Iterator[TextSpan]:
    """Spans of kind `phone`; they may overlap each other and those of other kinds.

    Args:
        region: where the writer is at home; see `regions_of`.
    """
    for match in _INTERNATIONAL.finditer(text):
        end = _international_end(match[0])
        if end:
            yield TextSpan(match.start(), match.start() + end, "phone")
    yield from _north_american(text)
    for match in _TRUNK_ZERO.finditer(text):
        if _DATE.match(match[0]) or _in_dump(text, *match.span()):
            continue
        if _known(_digits(match[0]), _TRUNK_ZERO_REGIONS):
            yield TextSpan(match.start(), match.end(), "phone")
    yield from _by_hint(text, regions_of(region))


def _north_american(text: str) -> Iterator[TextSpan]:
    for match in _NORTH_AMERICAN.finditer(text):
        start = match.start()
        prefix = _NORTH_AMERICAN_PREFIX.search(text, max(0, start - 5), start)
        if prefix:
            start = prefix.start(1)
        elif text[start - 1 : start] == "-":  # a longer number
            continue
        yield TextSpan(start, match.end(), "phone")


def _by_hint(text: str, regions: Sequence[str]) -> Iterator[TextSpan]:
    """Numbers of the writer's own country, and numbers after a word for a phone."""
    match = _GROUPED.search(text)
    while match:
        start, found = match.span()[0], match[0]
        if _DATE.match(found):
            end = 0
        elif _is_announced(text, start):
            end = len(found) if len(_digits(found)) >= 6 else 0
        else:
            end = _national_end(found, regions)
            place = (start, start + end)
            if end and (_in_dump(text, *place) or _in_list(text, *place)):
                end = 0
        if end:
            yield TextSpan(start, start + end, "phone")
        # A number may start within a run: "in 2019 612 34 56 78". Each group is tried once.
        following = _GROUP_END.search(found)
        at = start + (end or (following.end() if following else len(found)))
        match = _GROUPED.search(text, at)


def _is_announced(text: str, start: int) -> bool:
    """Whether the words right before are for a phone; looked at only where there are words."""
    before = text[max(0, start - _LONGEST_LABEL) : start]
    return any(one.isalpha() for one in before[-8:]) and _SAID.search(before) is not None


def _in_dump(text: str, start: int, end: int) -> bool:
    """Bytes in hexadecimal: pairs, with another pair before or after."""
    return bool(
        _PAIRS.match(text[start:end])
        and (_PAIR_BEFORE.search(text, max(0, start - 5), start) or _PAIR_AFTER.match(text, end))
    )


def _in_list(text: str, start: int, end: int) -> bool:
    """A row of numbers: two more of them before, after, or one on each side; of many, one more."""
    before = _NUMBERS_BEFORE.search(text, max(0, start - _LONGEST_LABEL), start)
    after = _NUMBERS_AFTER.match(text, end)
    others = sum(len(found[0].split()) for found in (before, after) if found)
    many = text[start] not in "0(" and len(_GROUP_END.findall(text[start:end])) >= _MANY_GROUPS
    return others > (0 if many else 1)


def _international_end(found: str) -> int:
    """Where the number ends in what was found; 0: it is none."""
    cut = found.startswith("00")
    number = "+" + found[2:] if cut else found
    ends = _ends(number)
    for end in ends:
        if _is_number(number[:end], None):
            return end + cut
    grouped = 3 <= len(_GROUP_END.findall(number)) <= 6
    return ends[0] + cut if grouped and _is_number(number[: ends[0]], None, possible=True) else 0


def _national_end(found: str, regions: Sequence[str]) -> int:
    if not regions or _ADDRESS.match(found.removeprefix("(")):
        return 0
    for end in _ends(found):
        written = found[:end]
        if _as_people_group(written) and _known(_digits(written), regions):
            return end
    return 0


def _as_people_group(written: str) -> bool:
    written = written.removeprefix("(")
    if written.isdigit():
        return written[0] == "0"
    first, *others = re.findall(r"\D+", written)
    return (
        len(set(others)) < 2
        and all(len(mark) == 1 for mark in others)
        and all(len(group) > 1 for group in re.findall(r"\d+", written)[1:])
        and _FIRST_MARK.fullmatch(first) is not None
        and not (first == "." and not others and written[0] != "0")  # 3.484818891
    )


def _ends(found: str) -> list[int]:
    """Ends of the last groups, longest first: what follows a number may be another one."""
    return [match.end() for match in _GROUP_END.finditer(found)][-1 : -1 - _MOST_ENDS : -1]


def _known(digits: str, regions: Sequence[str]) -> bool:
    return any(_fits(region).match(digits) and _is_number(digits, region) for region in regions)


@lru_cache(maxsize=300)
def _fits(region: str) -> re.Pattern[str]:
    """What a region's numbers look like at home: 20 times cheaper than parsing them all."""
    from phonenumbers import PhoneMetadata

    plan = PhoneMetadata.metadata_for_region(region)
    national = plan.general_desc.national_number_pattern if plan and plan.general_desc else None
    prefix = plan.national_prefix_for_parsing if plan else None
    return re.compile(rf"(?:{prefix or ''})?(?:{national or ''})$")


def _is_number(written: str, region: str | None, *, possible: bool = False) -> bool:
    """Whether a plan knows the number (`possible`: whether its length is right)."""
    import phonenumbers

    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return False
    known = phonenumbers.is_possible_number if possible else phonenumbers.is_valid_number
    return known(number)


def _digits(written: str) -> str:
    """Without separators and extension."""
    number = re.split(r"[xe]", written, maxsplit=1)[0]
    return "".join(character for character in number if character.isdigit())
