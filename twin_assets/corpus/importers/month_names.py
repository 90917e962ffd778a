"""Parse dates with a month's name in a language other than English: `12. März 2020`, `3 мая 2019`.

Scope: the possible meanings of such a text, in 26 languages.
Out of scope: numeric and English dates (`post_dates`), and which fields are dates.

The names come from CLDR through dateparser (https://dateparser.readthedocs.io). Only its parser for
absolute dates is used. Day, month and year are required ("yesterday" is not enough). One name can
mean different months: `listopada` is October in Croatian and November in Polish.
"""
# pyright: strict

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from importlib import import_module
from typing import Any

LANGUAGES = (
    *("de", "fr", "es", "pt", "it", "nl", "sv", "da", "nb", "fi", "pl", "cs", "sk", "hu", "ro"),
    *("bg", "ru", "uk", "el", "tr", "hr", "sl", "et", "lv", "lt", "ca"),
)
"""ISO 639-1 codes; if two languages read a name differently, the earlier one takes precedence."""

_SAME_NAMES = {"no": "nb", "nn": "nb"}
# Matches a day, a year and a name in a text that is too short for a sentence.
_DATE_LIKE = re.compile(r"(?=.*?\b\d{4}\b)(?=.*?(?<!\d)\d{1,2}(?!\d))(?=.*?[^\W\d_]{3}).{8,60}")
_ORDINAL = re.compile(r"(?<=\d)[º°ª]")
# Words for "of the year" and "day" after a number.
_FILLERS = re.compile(r"(?<=\d)\.?\s(?:gada|metų|m|d)\b\.?")


def parse_dates_in_words(text: str, language: str) -> tuple[datetime, ...]:
    """Return the possible meanings of a date in words; they have no zone if the text names none.

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
    language_code = _SAME_NAMES.get(language_code, language_code)
    if language_code in LANGUAGES and (parsed_date := _parse_date(text, language_code)):
        return (parsed_date,)
    dates = (_parse_date(text, code) for code in LANGUAGES)
    return tuple(dict.fromkeys(date for date in dates if date is not None))


def _parse_date(text: str, language: str) -> datetime | None:
    date: datetime | None = _build_parser(language).get_date_data(text).date_obj
    return date


@lru_cache(maxsize=len(LANGUAGES))
def _build_parser(language: str) -> Any:
    date_module: Any = import_module("dateparser.date")
    return date_module.DateDataParser(
        languages=[language],
        settings={"PARSERS": ["absolute-time"], "REQUIRE_PARTS": ["day", "month", "year"]},
    )
