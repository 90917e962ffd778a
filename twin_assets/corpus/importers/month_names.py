"""Dates with the name of the month in another language than English: `12. März 2020`, `3 мая 2019`.

Scope: which moments such a text may name, in 26 languages. Out of scope: numbers,
English (`post_dates`), which field is a date.

Names are CLDR's, as dateparser has them (https://dateparser.readthedocs.io): of its parsers the one
for absolute dates alone, and day, month and year must stand there ("yesterday" dates no post). A
name may be another month elsewhere: `listopada` is October in Croatia and November in Poland.
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
"""ISO 639-1; the earlier one counts where two read a name differently and nothing tells."""

_SAME_NAMES = {"no": "nb", "nn": "nb"}
# A day, a year and a name; a sentence is no date.
_LOOKS_SO = re.compile(r"(?=.*?\b\d{4}\b)(?=.*?(?<!\d)\d{1,2}(?!\d))(?=.*?[^\W\d_]{3}).{8,60}")
_ORDINAL = re.compile(r"(?<=\d)[º°ª]")
# "of the year" and "day" beside their numbers.
_FILLERS = re.compile(r"(?<=\d)\.?\s(?:gada|metų|m|d)\b\.?")
# dateparser has the nominative alone: at the second of May, *maijā*, *maja*.
_SLOVENE = {
    **{"januarja": "januar", "februarja": "februar", "marca": "marec", "aprila": "april"},
    **{"maja": "maj", "junija": "junij", "julija": "julij", "avgusta": "avgust"},
    **{"septembra": "september", "oktobra": "oktober", "novembra": "november"},
    **{"decembra": "december"},
}
_LATVIAN = (("ā", "s"), ("ī", "is"))
_NAME = re.compile(r"[^\W\d_]{3,}")


def moments_in_words(text: str, language: str) -> tuple[datetime, ...]:
    """What a date in words may mean, without a zone where it names none.

    Args:
        text: the whole of a field.
        language: of the post, BCP 47; "" or one that is not known here: all are asked.

    Returns:
        One moment; several, the likeliest first, where languages differ; none: it is no date.
    """
    if not _LOOKS_SO.fullmatch(text):
        return ()
    text = _FILLERS.sub("", _ORDINAL.sub("", text))
    said = language.split("-", maxsplit=1)[0].lower()
    said = _SAME_NAMES.get(said, said)
    if said in LANGUAGES and (found := _moment(text, said)):
        return (found,)
    every = (_moment(text, one) for one in LANGUAGES)
    return tuple(dict.fromkeys(one for one in every if one is not None))


def _moment(text: str, language: str) -> datetime | None:
    if language in {"sl", "lv"}:
        text = _NAME.sub(_slovene if language == "sl" else _latvian, text)
    found: datetime | None = _parser(language).get_date_data(text).date_obj
    return found


def _slovene(name: re.Match[str]) -> str:
    return _SLOVENE.get(name[0].lower(), name[0])


def _latvian(name: re.Match[str]) -> str:
    for locative, nominative in _LATVIAN:
        if name[0].endswith(locative):
            return name[0].removesuffix(locative) + nominative
    return name[0]


@lru_cache(maxsize=len(LANGUAGES))
def _parser(language: str) -> Any:
    dates: Any = import_module("dateparser.date")
    return dates.DateDataParser(
        languages=[language],
        settings={"PARSERS": ["absolute-time"], "REQUIRE_PARTS": ["day", "month", "year"]},
    )
