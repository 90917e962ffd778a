"""Lines that are not the post: buttons of a platform, and what repeats over an author's posts.

Belongs here: which lines these are, and a text without them. Does not belong here: HTML outside the
main text (`html_cleaning`), reading all posts (`cleaning_verdicts`).

A repeated line stands in at least five posts and one in two hundred of the author's, and these
differ: copies of one post repeat all their lines. It is taken out where boilerplate stands, at the
beginning and the end of a post; a sentence of eight words or more anywhere, since nobody writes one
five times over. Code, tables and headings are never taken.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterator

import polars as pl

from twin_assets.corpus.code_blocks import prose_lines
from twin_assets.corpus.shingles import shingles, words_of

FEWEST_POSTS = 5
SMALLEST_SHARE = 0.005
FEW_WORDS = 4
"""A shorter line ("Enjoy!") may be how the author speaks: it must be in a fiftieth of the posts."""
SHORT_LINE_SHARE = 0.02
LONG_LINE = 8
AT_THE_BEGINNING, AT_THE_END = 2, 3
"""Lines of a post, from either end, among which boilerplate is looked for; as one is taken out, the
next moves up."""
MOST_LINES = 200
"""Of a post's lines so many are compared with other posts', half from either end."""

_MARKS = re.compile(r"^[\s>*_~#+-]+|[\s*_~#]+$")
_HEADING = re.compile(r" {0,3}#{1,6} ")
_ITEM = re.compile(r"\s*(?:[-+*]|\d{1,9}[.)]) ")
_DIGITS = re.compile(r"\d+")
_EMPTY_LINES = re.compile(r"\n{3,}")

# Whole lines, in small letters and without marks. A word that an author may well write on a line of
# its own ("About", "Help", "Related") is not here: such lines are found by their repetition.
_PLATFORM = re.compile(
    r"""
      open\ in\ app | (?:sign\ (?:up|in)(?:\ |$)){1,4} | sign\ (?:up|in)\ with\ \w+
    | member-only\ story | \d+\ min(?:ute)?s?\ read(?:\W.{0,40})?
    | get\ unlimited\ access | recommended\ from\ medium | text\ to\ speech
    | (?:see\ )?(?:all\ )?responses\ \(\d+\) | \d+(?:\.\d+)?k?\ (?:followers|claps)
    | (?:listen|share|follow|subscribe|comment|like)(?:[\s|·•/]+(?:listen|share|follow|save|more
        |subscribe|comment|like|repost|send|copy\ link))*
    | subscribe\ (?:now|for\ free|today)\W? | (?:already\ a\ subscriber\W+)?upgrade\ to\ paid
    | type\ your\ email.{0,3} | leave\ a\ (?:comment|reply)\W? | give\ a\ gift\ subscription
    | refer\ a\ friend | share\ this(?:\ (?:post|article|story))?\W? | read\ in\ (?:the\ )?app
    | get\ more\ from\ .{1,80}\ in\ the\ substack\ app.{0,80}
    | thanks\ for\ reading\b.{0,80}\bsubscribe\b.{0,160}
    | .{0,120}\bis\ a\ reader-supported\ publication\b.{0,200}
    | this\ (?:post|episode)\ is\ (?:public\ so\ feel\ free\ to\ share\ it
        |(?:only\ )?for\ paid\ subscribers)\W?
    | .{0,60}to\ receive\ new\ posts\ and\ support\ my\ work.{0,120}
    | (?:report\ this\ post|view\ profile|see\ more|…\s?see\ more)
    | like\ this:?(?:\ like\ loading\W*)? | like\ loading\W* | loading(?:\.\.\.|…)
    | click\ to\ (?:share|email|print)\b.{0,80}\(opens\ in\ new\ window\).{0,80}
    | the\ post\ .{1,200}\ (?:first\ appeared|appeared\ first)\ on\ .{1,100}
    | (?:this\ (?:post|article|story)\ )?(?:was\ )?originally\ (?:published|posted|appeared)
        \ (?:at|on|in|by)\ .{1,160}
    | (?:continue\ reading|read\ more|read\ the\ full\ (?:post|story|article))\W*
    | powered\ by\ (?:ghost|wordpress|substack|medium|jekyll|hugo)\b.{0,40}
    """,
    re.VERBOSE,
)


def without_platform_lines(text: str) -> str:
    """Markdown without lines that are known buttons and notices of a platform."""
    return _without(text, {place for place, line in prose_lines(text) if is_platform_line(line)})


def count_platform_lines(text: str) -> int:
    """How many known buttons and notices a text holds."""
    return sum(is_platform_line(line) for _, line in prose_lines(text))


def is_platform_line(line: str) -> bool:
    """Whether a whole line is a button or notice; one word in a list is an item of the author's."""
    if len(line) > 500 or "|" in line[:1]:
        return False
    bare = " ".join(_MARKS.sub("", line).lower().split())
    if not bare or (_ITEM.match(line) and " " not in bare):
        return False
    return bool(_PLATFORM.fullmatch(bare))


def line_numbers(text: str) -> list[int]:
    """A number for each line that may be boilerplate, in order: equal for lines of equal words.

    Digits count as equal ("issue 12 of my letter").
    """
    found = [number for _, number in _numbered(text)]
    half = MOST_LINES // 2
    return found if len(found) <= MOST_LINES else found[:half] + found[-half:]


def fingerprint(text: str) -> int:
    """A number that copies of a text mostly share and other texts do not: its smallest shingle."""
    return min(shingles(text, width=3), default=0)


def repeated_lines(lines: pl.DataFrame) -> pl.DataFrame:
    """Which lines repeat, over all posts of an author.

    Args:
        lines: one row a post: `lines` (`line_numbers`) and `fingerprint`.

    Returns:
        One row a repeated line: `line`.
    """
    posts = lines.height
    least = max(FEWEST_POSTS, math.ceil(SMALLEST_SHARE * posts))
    least_short = max(2 * FEWEST_POSTS, math.ceil(SHORT_LINE_SHARE * posts))
    needed = pl.when(_is_short(pl.col("line"))).then(least_short).otherwise(least)
    return (
        lines.select(pl.col("lines").alias("line"), "fingerprint")
        .explode("line", empty_as_null=True)
        .drop_nulls("line")
        .group_by("line")
        .agg(pl.col("fingerprint").n_unique().alias("posts"))
        .filter(pl.col("posts") >= needed)
        .select("line")
        .sort("line")
    )


def without_repeated_lines(text: str, repeated: Collection[int]) -> str:
    """Markdown without the repeated lines where they are boilerplate.

    Args:
        repeated: of the author's `repeated_lines` those that this text holds, or all.
    """
    if not repeated:
        return text
    left = list(_numbered(text))
    taken = {place for place, number in left if number in repeated and not number & _NOT_LONG}
    left = [(place, number) for place, number in left if place not in taken]
    for window in (slice(0, AT_THE_BEGINNING), slice(-AT_THE_END, None)):
        while found := [pair for pair in left[window] if pair[1] in repeated]:
            taken.update(place for place, _ in found)
            left = [pair for pair in left if pair not in found]
    return _without(text, taken) if taken else text


# The two lowest bits of a line's number say how long it is, so that counting needs no text.
_SHORT, _NOT_LONG = 2, 1


def _is_short(number: pl.Expr) -> pl.Expr:
    return (number // _SHORT % 2) == 1


def _numbered(text: str) -> Iterator[tuple[int, int]]:
    for place, line in prose_lines(text):
        if _HEADING.match(line) or line.lstrip().startswith("|"):
            continue
        words = words_of(_DIGITS.sub("0", line))
        if not words:
            continue
        digest = hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()
        number = int.from_bytes(digest, "big") >> 3 << 2  # below 2^63: Int64 holds it
        short = _SHORT if len(words) < FEW_WORDS else 0
        yield place, number | short | (_NOT_LONG if len(words) < LONG_LINE else 0)


def _without(text: str, places: Collection[int]) -> str:
    """The text without some of its lines, and without headings that then have nothing below."""
    if not places:
        return text
    lines = [line for place, line in enumerate(text.split("\n")) if place not in places]
    while lines and (not lines[-1].strip() or _HEADING.match(lines[-1])):
        lines.pop()
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip("\n")
