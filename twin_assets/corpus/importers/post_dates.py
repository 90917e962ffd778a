"""Find a post's date in its fields and path, in common formats.

Scope: the precedence of fields, dates in paths, the order of day and month, and months in words.
Out of scope: parsing front matter (`front_matter`), and dates from git (`git_history`).

Names: https://jekyllrb.com/docs/posts/ (`YYYY-MM-DD-title.md`),
https://docs.astro.build/en/guides/content-collections/ (`pubDate`),
https://pandoc.org/MANUAL.html#extension-yaml_metadata_block (`date`).
Order of day and month: https://cldr.unicode.org (only `en-US` puts the month first, and never with
full stops).
Months in words (`12. März 2020`, `3 мая 2019`): the names come from CLDR through dateparser
(https://dateparser.readthedocs.io). Only its parser for absolute dates is used. Day, month and year
are required ("yesterday" is not enough). One name can mean different months: `listopada` is October
in Croatian and November in Polish.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib import import_module
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from twin_assets.corpus.importers.front_matter import parse_local_datetime
from twin_assets.corpus.importers.visibility_rules import normalize_key

CREATED_FIELDS = (
    *("date", "pubdate", "pubdatetime", "publishedat", "publishdate", "publisheddate"),
    *("publishedon", "publicationdate", "datepublished", "published", "posted", "postedat"),
    *("postdate", "dateposted", "datetime", "created", "createdat", "createdon", "datecreated"),
    *("creationdate", "createddate", "createdtime", "issued", "fecha", "datum", "data", "дата"),
    *("日付", "日期", "revdate"),
)
"""Fields for the time of publication, or else the time of writing, in order of precedence."""

FILE_CREATED_FIELD = "made on"
"""Field for the time that a program wrote into its document; every other date comes first."""

UPDATED_FIELDS = (
    *("updated", "updatedat", "updateddate", "updatedate", "dateupdated", "lastmod"),
    *("lastmodifiedat", "lastmodified", "modified", "modifiedat", "datemodified", "modifieddate"),
    *("modifiedtime", "moddatetime", "moddate", "lastupdated", "lastupdate", "revised"),
)

_YEARS = range(1970, 2100)  # for dates without separators, because eight digits may be any number
_NAME_DATE = re.compile(
    r"(?P<year>\d{4})(?:(?P<mark>[-_.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})(?!\d)"
    r"|(?P<month_2>\d{2})(?P<day_2>\d{2})(?:\d{4}|\d{6})?(?!\d))"
    r"(?:T\d{2}[-_.:]?\d{2}(?:[-_.:]?\d{2})?(?![^\W_]))?[-_. ]*"
)
# Numbers without zeros are a date only where each is a folder: `2019/12/5-things.md` is of no day.
_PATH_DATE = re.compile(
    r"(?:.*/)?(?P<year>\d{4})(?:[/-](?P<month>\d{2})[/-](?P<day>\d{2})(?:[-_. ]+|/|$)"
    r"|/(?P<month_2>\d{1,2})/(?P<day_2>\d{1,2})(?:/|$))(?!.*/)"
)
_TRAILING_DATE = re.compile(r"[-_. ]+(\d{4})-(\d{2})-(\d{2})$")
_NUMERIC = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})(?!\d)(.*)", re.DOTALL)
_IDEOGRAPHS = re.compile(
    r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월]\s*(\d{1,2})\s*[日일]?(.*)", re.DOTALL
)
_HAS_YEAR = re.compile(r"\b\d{4}\b")
_ISO = re.compile(r"\d{4}-\d{1,2}-\d{1,2}")
_MONTH_FIRST = frozenset({"", "en", "en-us", "en-ph"})

MONTH_LANGUAGES = (
    *("de", "fr", "es", "pt", "it", "nl", "sv", "da", "nb", "fi", "pl", "cs", "sk", "hu", "ro"),
    *("bg", "ru", "uk", "el", "tr", "hr", "sl", "et", "lv", "lt", "ca"),
)
"""ISO 639-1 codes; if two languages read a name differently, the earlier one takes precedence."""

_LANGUAGE_ALIASES = {"no": "nb", "nn": "nb"}
# Matches a day, a year and a name in a text that is too short for a sentence.
_DATE_LIKE = re.compile(r"(?=.*?\b\d{4}\b)(?=.*?(?<!\d)\d{1,2}(?!\d))(?=.*?[^\W\d_]{3}).{8,60}")
_ORDINAL = re.compile(r"(?<=\d)[º°ª]")
# Words for "of the year" and "day" after a number.
_FILLERS = re.compile(r"(?<=\d)\.?\s(?:gada|metų|m|d)\b\.?")


@dataclass(frozen=True)
class PostDate:
    """A time with its zone, and whether it is ambiguous.

    A date is ambiguous if day and month could be swapped, or if the name of its month means
    different months in different languages.
    """

    time: datetime
    is_ambiguous: bool = False

    @property
    def utc_time(self) -> datetime:
        return self.time.astimezone(UTC)


def find_field_date(
    fields: Mapping[str, Any],
    names: tuple[str, ...],
    *,
    zone: ZoneInfo | None = None,
    language: Callable[[], str],
) -> PostDate | None:
    """Return the date in the first named field that contains a date, or None.

    Args:
        fields: the front matter, with lower-case keys.
        names: field names in order of precedence, such as `CREATED_FIELDS`.
        zone: time zone of a date without one; None means UTC.
        language: function that returns the post's BCP 47 language; called only if a date needs it.
    """
    if not fields:
        return None
    normalized_fields = {normalize_key(key): value for key, value in fields.items()}
    for name in names:
        value = normalized_fields.get(name)
        if isinstance(value, dict):  # Docusaurus: `last_update: {date: …, author: …}`
            value = cast("dict[str, Any]", value).get("date")
        if value is not None and (date := parse_date(value, zone=zone, language=language)):
            return date
    return None


def parse_date(
    value: object, *, zone: ZoneInfo | None = None, language: Callable[[], str]
) -> PostDate | None:
    """Return the date in a field's value, or None if the value does not specify a day."""
    if not isinstance(value, str):
        return _parse_datetime(value, zone)
    text = value.strip()
    if parts := _IDEOGRAPHS.fullmatch(text):
        return _parse_datetime(f"{parts[1]}-{parts[2]}-{parts[3]} {parts[4]}".strip(), zone)
    if numeric_match := _NUMERIC.fullmatch(text):
        return _parse_numeric_date(numeric_match, zone, language)
    if not _ISO.match(text) and not _has_day_and_month(text):
        return _parse_date_in_words(text, zone, language)
    return _parse_datetime(text, zone)


def find_zone(name: str) -> ZoneInfo | None:
    """Return the zone with this IANA name, or None if there is none."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def split_date_and_title(source_id: str) -> tuple[str, str]:
    """Split `2009-04-16-short-url.html` into ("2009-04-16", "Short url"); the date may be "".

    A page bundle (`my-post/index.md`) has its folder's name. Folders may specify the year, the
    month and the day (`2019/12-28-slug.md`, `2019/12/28/slug.md`).
    """
    parts = source_id.split("/")
    stem = parts[-1].rsplit(".", 1)[0] if "." in parts[-1] else parts[-1]
    if stem.lower() in {"index", "readme"} and len(parts) > 1:
        parts = parts[:-1]
        stem = parts[-1]
    day, slug = _split_stem(stem)
    if not day and len(parts) > 1:
        path = "/".join([*parts[-4:-1], stem])
        if (match := _PATH_DATE.match(path)) and (day := _read_day(match)):
            slug = path[match.end() :] or stem
    words = " ".join(re.split(r"[-_\s]+", slug)).strip() or stem
    return day, words[:1].upper() + words[1:]


def _split_stem(stem: str) -> tuple[str, str]:
    match = _NAME_DATE.match(stem)
    if match and (match["mark"] or int(match["year"]) in _YEARS) and (day := _read_day(match)):
        return day, stem[match.end() :]
    if (match := _TRAILING_DATE.search(stem)) and (iso_day := _to_iso_day(*match.groups())):
        return iso_day, stem[: match.start()]
    return "", stem


def find_address_day(address: str) -> str:
    """Return the day in a post's address (`/2019/07/29/slug/`, `2019-07-29-slug.html`), or ""."""
    path = re.sub(r"^https?://[^/]*|[?#].*", "", address).strip("/")
    return split_date_and_title(path)[0]


def _read_day(match: re.Match[str]) -> str:
    month, day = match["month"] or match["month_2"], match["day"] or match["day_2"]
    return _to_iso_day(match["year"], month, day)


def _to_iso_day(year: str, month: str, day: str) -> str:
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return ""


def _parse_numeric_date(
    numeric: re.Match[str], zone: ZoneInfo | None, language: Callable[[], str]
) -> PostDate | None:
    first_number, second_number = int(numeric[1]), int(numeric[3])
    year = numeric[4] if len(numeric[4]) == 4 else f"20{numeric[4]}"
    is_ambiguous = (
        first_number <= 12
        and second_number <= 12
        and first_number != second_number
        and numeric[2] != "."
    )
    language_code = language().lower() if is_ambiguous else ""
    is_month_first = language_code in _MONTH_FIRST if is_ambiguous else second_number > 12
    month, day = (first_number, second_number) if is_month_first else (second_number, first_number)
    date = _parse_datetime(f"{year}-{month:02}-{day:02} {numeric[5].strip(' ,T')}".strip(), zone)
    return PostDate(date.time, is_ambiguous and language_code in {"", "en"}) if date else None


def _parse_date_in_words(
    text: str, zone: ZoneInfo | None, language: Callable[[], str]
) -> PostDate | None:
    if not _HAS_YEAR.search(text):
        return None
    dates = _list_possible_dates(text, language())
    first_date = parse_local_datetime(dates[0], zone) if dates else None
    return PostDate(first_date, is_ambiguous=len(dates) > 1) if first_date else None


def _parse_datetime(value: object, zone: ZoneInfo | None) -> PostDate | None:
    time = parse_local_datetime(value, zone)
    return PostDate(time) if time else None


def _has_day_and_month(text: str) -> bool:
    """Return whether the text specifies a day and a month, so that dateutil adds no defaults."""
    from dateutil import parser

    month_days: set[tuple[int, int]] = set()
    for default in (datetime(2001, 1, 1, tzinfo=UTC), datetime(2001, 2, 2, tzinfo=UTC)):
        try:
            parsed_date = parser.parse(text, default=default, ignoretz=True)
        except (ValueError, OverflowError, TypeError):
            return False
        month_days.add((parsed_date.month, parsed_date.day))
    return len(month_days) == 1


def _list_possible_dates(text: str, language: str) -> tuple[datetime, ...]:
    """Return the possible dates for a date in words, without a zone if the text names none.

    Args:
        text: a whole field.
        language: the post's BCP 47 language; all languages are tried if it is "" or not listed.

    Returns:
        One date, or several in order of preference if languages differ, or () if `text` is not a
        date.
    """
    if not _DATE_LIKE.fullmatch(text):
        return ()
    text = _FILLERS.sub("", _ORDINAL.sub("", text))
    language_code = language.split("-", maxsplit=1)[0].lower()
    language_code = _LANGUAGE_ALIASES.get(language_code, language_code)
    if language_code in MONTH_LANGUAGES and (
        parsed_date := _parse_date_in_language(text, language_code)
    ):
        return (parsed_date,)
    dates = (_parse_date_in_language(text, code) for code in MONTH_LANGUAGES)
    return tuple(dict.fromkeys(date for date in dates if date is not None))


def _parse_date_in_language(text: str, language: str) -> datetime | None:
    date: datetime | None = _build_language_parser(language).get_date_data(text).date_obj
    return date


@lru_cache(maxsize=len(MONTH_LANGUAGES))
def _build_language_parser(language: str) -> Any:
    date_module: Any = import_module("dateparser.date")
    return date_module.DateDataParser(
        languages=[language],
        settings={"PARSERS": ["absolute-time"], "REQUIRE_PARTS": ["day", "month", "year"]},
    )
