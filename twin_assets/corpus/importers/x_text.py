"""Restore the text of a post on X as it was typed, and match long texts with truncated posts.

Scope: links, escapes, times, and matching.
Out of scope: the archive's files (`x_archive`).

Links: https://docs.x.com/x-api/fundamentals/data-dictionary (entities, `t.co`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

_MENTIONS = re.compile(r"\A(?:@\w{1,20}\s+)+")
_QUOTED_POST_LINK = re.compile(
    r"\s*https?://(?:www\.|mobile\.)?(?:twitter|x)\.com/\w+/status/\d+\S*\Z"
)
_SHORT_LINK = re.compile(r"https?://t\.co/\w+")
_MIN_COMMON_PREFIX = 20
"""Minimum common prefix, in characters, of a text and a post that are one second apart."""


@dataclass(frozen=True)
class VisiblePost:
    """The visible part of a post: its time and its text up to about 280 characters."""

    created_at: datetime | None
    text: str


def unescape(text: str) -> str:
    """Unescape the three characters that X escapes."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def restore_typed_text(
    raw_text: str, *, links: Mapping[str, str], media: frozenset[str] = frozenset()
) -> str:
    """Return `raw_text` with expanded links, but without links to media and to a quoted post.

    Args:
        raw_text: the escaped text in the archive.
        links: the target of each short link, or "" if unknown.
        media: short links to pictures and videos.
    """

    def expand_link(match: re.Match[str]) -> str:
        return "" if match[0] in media else links.get(match[0]) or match[0]

    text = _SHORT_LINK.sub(expand_link, unescape(raw_text)).rstrip()
    return _QUOTED_POST_LINK.sub("", text).strip()


def remove_mentions(text: str) -> str:
    """Return a reply without the mentions that X puts at its beginning."""
    return _MENTIONS.sub("", text)


def parse_time(text: str) -> datetime | None:
    """Parse `Thu Feb 09 18:05:09 +0000 2023` (posts) or ISO 8601 (long posts), to the second."""
    try:
        if text[:1].isalpha():
            time = datetime.strptime(text, "%a %b %d %H:%M:%S %z %Y")
        else:
            time = datetime.fromisoformat(text).replace(microsecond=0)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def join_long_posts(
    notes: Mapping[str, VisiblePost], posts: Mapping[str, VisiblePost]
) -> dict[str, str]:
    """Return the truncated post of each long text; omit texts without a post.

    Texts and posts are matched by their creation time, to the second. If several posts match, or
    only posts one second apart, their beginnings decide. A post gets at most one text.
    """
    ids_by_second: dict[int, list[str]] = defaultdict(list)
    for post_id, post in posts.items():
        if post.created_at is not None:
            ids_by_second[int(post.created_at.timestamp())].append(post_id)
    posts_by_note: dict[str, str] = {}
    for note_id, note in notes.items():
        if note.created_at is None:
            continue
        second, matched_posts = int(note.created_at.timestamp()), set(posts_by_note.values())
        same_second, previous, following = (
            [post_id for post_id in ids_by_second.get(time, ()) if post_id not in matched_posts]
            for time in (second, second - 1, second + 1)
        )
        matched_id = _find_most_similar(
            note, same_second, posts, min_length=0 if len(same_second) == 1 else 1
        ) or _find_most_similar(note, [*previous, *following], posts, min_length=_MIN_COMMON_PREFIX)
        if matched_id:
            posts_by_note[note_id] = matched_id
    return posts_by_note


def _find_most_similar(
    note: VisiblePost,
    candidates: Iterable[str],
    posts: Mapping[str, VisiblePost],
    *,
    min_length: int,
) -> str:
    """Return the candidate whose text begins most like the note's, or "" if none is close."""
    pairs_by_post = {
        post_id: zip(note.text, remove_mentions(posts[post_id].text), strict=False)
        for post_id in candidates
    }
    similarities = {
        post_id: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        for post_id, pairs in pairs_by_post.items()
    }
    best_match = max(similarities, key=lambda post_id: similarities[post_id], default="")
    return best_match if best_match and similarities[best_match] >= min_length else ""
