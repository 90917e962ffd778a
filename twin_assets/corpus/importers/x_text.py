"""Restore the text of a post on X as it was typed, and match long texts with cut-off posts.

Scope: links, escapes, times, joining.
Out of scope: the archive's files (`x_archive`).

Links: https://docs.x.com/x-api/fundamentals/data-dictionary (entities, `t.co`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_WHEN = re.compile(r"\w{3} (\w{3}) (\d\d) (\d\d):(\d\d):(\d\d) \+0000 (\d{4})")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MENTIONS = re.compile(r"\A(?:@\w{1,20}\s+)+")
_QUOTED = re.compile(r"\s*https?://(?:www\.|mobile\.)?(?:twitter|x)\.com/\w+/status/\d+\S*\Z")
_SHORT_LINK = re.compile(r"https?://t\.co/\w+")
_SAME_BEGINNING = 20
"""Length in characters from which equal beginnings at about one second are not a coincidence."""


@dataclass(frozen=True)
class VisiblePost:
    """The visible part of a post: its time and its text up to about 280 characters."""

    created_at: datetime | None
    text: str


def unescaped(text: str) -> str:
    """Unescape the three characters that X escapes."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def as_typed(raw: str, *, links: Mapping[str, str], media: frozenset[str] = frozenset()) -> str:
    """Return `raw` with its links expanded, without the addresses of pictures and of a quoted post.

    Args:
        raw: the escaped text in the archive.
        links: short link → its target, or "" if unknown.
        media: short links of pictures and films.
    """

    def whole(match: re.Match[str]) -> str:
        return "" if match[0] in media else links.get(match[0]) or match[0]

    text = _SHORT_LINK.sub(whole, unescaped(raw)).rstrip()
    return _QUOTED.sub("", text).strip()


def without_mentions(text: str) -> str:
    """Return a reply without the names at its beginning, which X puts there."""
    return _MENTIONS.sub("", text)


def moment(text: str) -> datetime | None:
    """Parse `Thu Feb 09 18:05:09 +0000 2023` (posts) or ISO 8601 (long posts), to the second."""
    match = _WHEN.fullmatch(text)
    try:
        if match is None:
            when = datetime.fromisoformat(text).replace(microsecond=0)
            return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
        name, day, hour, minute, second, year = match.groups()
        month = _MONTHS.index(name) + 1
        return datetime(int(year), month, int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def join_long_posts(
    notes: Mapping[str, VisiblePost], posts: Mapping[str, VisiblePost]
) -> dict[str, str]:
    """Return long text → the post that shows its beginning; a text without one is left out.

    They are matched by the second of their creation; among several, or a second apart, by their
    beginnings. A post gets at most one text.
    """
    by_second: dict[datetime, list[str]] = {}
    for number, post in posts.items():
        if post.created_at is not None:
            by_second.setdefault(post.created_at, []).append(number)
    joined: dict[str, str] = {}
    for name, note in notes.items():
        if note.created_at is None:
            continue
        taken = set(joined.values())
        here = [n for n in by_second.get(note.created_at, ()) if n not in taken]
        chosen = _most_alike(note, here, posts, at_least=0 if len(here) == 1 else 1)
        if not chosen:
            near = [
                number
                for seconds in (-1, 1)
                for number in by_second.get(_shifted(note.created_at, seconds), ())
                if number not in taken
            ]
            chosen = _most_alike(note, near, posts, at_least=_SAME_BEGINNING)
        if chosen:
            joined[name] = chosen
    return joined


def _shifted(when: datetime, seconds: int) -> datetime:
    try:
        return when + timedelta(seconds=seconds)
    except OverflowError:
        return when


def _most_alike(
    note: VisiblePost, candidates: Iterable[str], posts: Mapping[str, VisiblePost], *, at_least: int
) -> str:
    """Return the candidate whose text begins most like the note's, or "" if none is close."""
    alike = {
        number: _same_beginning(note.text, without_mentions(posts[number].text))
        for number in candidates
    }
    best = max(alike, key=lambda number: alike[number], default="")
    return best if best and alike[best] >= at_least else ""


def _same_beginning(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    differs = next((at for at, (a, b) in enumerate(pairs) if a != b), None)
    return min(len(one), len(other)) if differs is None else differs
