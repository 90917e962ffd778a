"""The range of posts' dates that a question names: "since 2024", "in March 2019", "last year".

dateparser reads the date. Its search would also find one in "the 2019 MacBook", "port 2020" and
"may I", so the words around a date decide whether it is a range.
"""
# pyright: strict

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from twin_resources.models.retrieval.stop_words import load_stop_words

_LANGUAGES = ("en", "de", "fr", "es", "it", "pt")
_MAX_CHARACTERS = 300  # a longer message is a pasted text, whose dates are not the reader's

_DAY = (
    r"\d{4}-\d\d(?:-\d\d)?|(?:\d{1,2}(?:st|nd|rd|th|\.|º)? (?:of |de )?)?"
    r"(?:[^\W\d_]{3,10}\.? (?:\d{1,2}(?:st|nd|rd|th)?,? )?(?:of |del? )?)?(?:19|20)\d\d"
)
_RELATIVE = (
    r"(?:last|this) (?:year|month)|\w+ years ago|(?:letztes|dieses) Jahr|vor \w+ Jahren"
    r"|l['’]année dernière|cette année|el año pasado|este año|quest['’]anno|ano passado|este ano"
)
# "early 2019" and "the summer of 2019" are all of 2019.
_PART = (
    r"(?:the )?(?:(?:early|late|mid|year|start|beginning|end|spring|summer|autumn|fall|winter)"
    r"(?: of)?[ -])?(?:the )?"
)
_DATE = rf"{_PART}(?P<date>(?:19|20)\d0(?:['’]?s|er)|{_RELATIVE}|{_DAY})"
_POSTS = r"(?:posts?|articles?|essays?|Beitr[aä]ge?n?|textes?|entradas?)"
# `before`, `until`, `in` and a bare "last year" also date events ("the flood in 1953"), so they
# need a question to or about the author; `of` needs the word "posts" before it.
_FORMS = {
    "pair": r"(?:between|from|in|zwischen|von|entre|d[eu]l?|tra|dal) (?:il )?"
    rf"(?P<from>{_DAY})(?: (?:and|to|until|till|through|und|bis|et|à|y|e|a[lu]?) | ?[-–] ?)"
    rf"(?:il )?(?P<date>{_DAY})",
    "since": r"(?:since|starting (?:in|from)|from(?= [\w ]+ on(?:wards?\b|[,?.!]|\Z))|seit|ab"
    rf"|depuis|à partir de|desde|a partir de|dal) {_DATE}",
    "after": rf"(?:after|nach|après|después de|dopo(?: il)?|depois de) {_DATE}",
    "before": rf"(?:before|prior to|vor|avant|antes de|prima del) {_DATE}",
    "until": rf"(?:until|till|up to|bis|jusqu['’]en|hasta|fino al|até) {_DATE}",
    "in": r"(?:(?:in|during|throughout|on|im(?: Jahr)?|am|en|nel|em) |(?<=\bdu )|(?<=\bSie ))"
    rf"{_DATE}",
    "of": rf"(?:of|from|von|aus|del?|di) {_DATE}",
    "relative": rf"(?P<date>{_RELATIVE})",
    "adjective": rf"(?<=\byour )(?P<date>(?:19|20)\d\d)(?= {_POSTS})",
    "last": r"(?:(?:in|over|within|during) (?:the |your )?(?:last|past)|in den (?:letzten"
    r"|vergangenen))(?: (?P<count>\w+))? (?P<unit>years?|months?|decade|Jahren|Monaten)",
}
_PATTERNS = {kind: re.compile(rf"(?i)\b{form}\b") for kind, form in _FORMS.items()}
_NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_AUTHOR = (
    rf"you|your|yours|author|posted|published|{_POSTS}|du|dich|dein\w*|Sie|Ihnen|Ihre?[nrms]?|tu|toi|tes|vous|votre|vos"
    r"|usted|tus|pensabas|escribiste|tuo|tua|hai|pensavi|você|seus?|suas?"
)
# "I have used it since 2010": the reader's own time, not that of the posts.
_READER = (
    r"I|we|my|our|ich|wir|mein\w*|unser\w*|je|j|nous|mon|ma|mes|notre|nos|yo|mi|mis|nosotros|io|mio"
    r"|mia|eu|meu|minha|nós"
)
_NEGATION = re.compile(r"(?i)\b(?:not|except|besides|nicht|außer|sauf|salvo|tranne|exceto) \Z")
_QUOTED = re.compile(r"[“”„\"«][^“”„\"«»]*[“”\"»]|`[^`]*`|https?://\S+")


@dataclass(frozen=True)
class DateRange:
    """The days of posts that a question asks for.

    Attributes:
        first: None without a beginning.
        last: inclusive, today at the latest.
        question: the question without the words of the range, for the search.
        today: the day on which it was asked.
    """

    first: date | None
    last: date
    question: str
    today: date

    @property
    def days(self) -> str:
        """The range in years if it is whole ones, else in days; without a beginning, its end."""
        first = self.first or self.last
        has_years = self.last == self.today or (self.last.month, self.last.day) == (12, 31)
        if has_years and (self.first is None or (first.month, first.day) == (1, 1)):
            first_text, last_text = f"{first.year}", f"{self.last.year}"
        else:
            first_text, last_text = first.isoformat(), self.last.isoformat()
        return last_text if first_text == last_text else f"{first_text} – {last_text}"

    def fields(self) -> dict[str, str]:
        """Return the range for the field `twin.dates`; an open beginning is empty."""
        return {"first": self.first.isoformat() if self.first else "", "last": f"{self.last}"}

    @property
    def published_after(self) -> datetime | None:
        return datetime.combine(self.first, time.min, UTC) if self.first else None

    @property
    def published_before(self) -> datetime:
        return datetime.combine(self.last, time.max, UTC)


def find_date_range(question: str, today: date, *, author: str = "") -> DateRange | None:
    """Return the range of dates that a question names, or None.

    Of several ranges, the days that they share are meant: "since 2015, but before 2018".

    Args:
        author: the slug, whose words name the author as "you" does.
    """
    if len(question) > _MAX_CHARACTERS:
        return None
    text = _QUOTED.sub(lambda quoted: "\0" * len(quoted[0]), question)
    first, last, cuts = date.min, today, list[tuple[int, int]]()
    for begin, end, low, high in _list_ranges(text, today, author):
        if not any(begin < cut_end and cut_begin < end for cut_begin, cut_end in cuts):
            first, last = max(first, low), min(last, high)
            cuts.append((begin, end))
    if not cuts or first > last:
        return None
    rest = question
    for begin, end in sorted(cuts, reverse=True):
        rest = f"{rest[:begin].rstrip()} {rest[end:].lstrip()}".strip()
    rest = rest if re.search(r"\w", rest) else question
    return DateRange(None if first == date.min else first, last, rest, today)


def _list_ranges(text: str, today: date, author: str) -> Iterator[tuple[int, int, date, date]]:
    """Yield (begin, end, first day, last day) of each range, the longest forms first."""
    names = [_AUTHOR, *map(re.escape, filter(None, author.split("-")))]
    persons = re.compile(rf"(?i)\b(?:(?P<author>{'|'.join(names)})|{_READER})\b")
    is_to_author = any(person["author"] for person in persons.finditer(text))
    for kind, pattern in _PATTERNS.items():
        for match in pattern.finditer(text):
            before, after = text[: match.start()], text[match.end() :]
            nearest = [*persons.finditer(before)][-1:] or [*persons.finditer(after)][:1]
            is_readers = any(person["author"] is None for person in nearest)
            needs_posts = kind == "of" and not re.search(
                rf"(?i)\b{_POSTS} (?:\w+ ){{0,2}}\Z", before
            )
            if needs_posts or is_readers or _NEGATION.search(before):
                continue
            words = match.groupdict().get("date") or ""
            if kind != "adjective" and not _ends_date(words, after):
                continue
            if not is_to_author and kind in {"before", "until", "in", "relative"}:
                continue
            if kind == "last":
                span = _count_back(today, match["count"] or "", match["unit"].lower())
            else:
                span = _read_date(words, today)
            begin = _read_date(match["from"], today) if kind == "pair" else span
            if span is None or begin is None or begin[0] > today:
                continue
            low, high = {
                "since": (span[0], today),
                "after": (span[1] + timedelta(1), today),
                "before": (date.min, span[0] - timedelta(1)),
                "until": (date.min, span[1]),
            }.get(kind, (begin[0], span[1]))
            yield *match.span(), low, high


def _ends_date(words: str, after: str) -> bool:
    """Return whether a date ends before this text: "in 2000 rows" and "since 2019.3" go on."""
    word = re.match(r" ?([^\W\d_][\w'’]*)( du | Sie )?", after)
    if word and words.isdecimal():  # a year alone may count what follows
        is_function_word = any(word[1] in load_stop_words(name) for name in _LANGUAGES)
        is_verb = word[2] or re.fullmatch(
            r" \w{0,4}ge\w+[.?!]?", after
        )  # "2019 hast du", "gemacht"
        return is_function_word or word[1] == "I" or bool(is_verb)
    return not re.match(r" ?[\d\0%°×\"/]|[.,:-]\w", after)


def _read_date(words: str, today: date) -> tuple[date, date] | None:
    """Return the first and the last day of what dateparser reads; None if it is no date."""
    if decade := re.fullmatch(r"(\d{4})\D+", words):
        return date(int(decade[1]), 1, 1), date(int(decade[1]) + 9, 12, 31)
    data = _date_parser(today).get_date_data(words)
    if data.date_obj is None:
        return None
    day: date = data.date_obj.date()
    if data.period == "year":
        return day.replace(month=1, day=1), day.replace(month=12, day=31)
    if data.period == "month":
        return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])
    return day, day


def _count_back(today: date, count: str, unit: str) -> tuple[date, date] | None:
    """Return the time from so many years or months ago; None for "the last years"."""
    count = count.lower() or ("1" if unit in {"year", "month", "decade"} else "")
    number = _NUMBERS.index(count) + 1 if count in _NUMBERS else count
    words = f"{number}0 years ago" if unit == "decade" else f"{number} {unit} ago"
    data = _date_parser(today).get_date_data(f"vor {count} {unit}" if unit[0] == "j" else words)
    return None if data.date_obj is None else (data.date_obj.date(), today)


@lru_cache(maxsize=1)
def _date_parser(today: date) -> Any:
    from dateparser.date import DateDataParser

    settings = {"RELATIVE_BASE": datetime.combine(today, time(12)), "PREFER_DATES_FROM": "past"}
    return DateDataParser(languages=list(_LANGUAGES), settings=settings)
