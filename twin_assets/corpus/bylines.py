"""Decide from its byline whether a post is by the author or by somebody else.

Scope: comparing names, and bylines inside a text. Out of scope: the byline field of an export
(importers), the handling of a foreign post (`cleaning_verdicts`).

In doubt, a post is the author's: an empty byline, "admin", a first name alone, two names of which
one is the author's. Other names of the author belong in `aliases` in the author's settings.

The owner of an account may sign with a handle, so a handle on most posts of a source is the
author's if no post there has the author's own name. A full name is somebody's name, however many
posts have it, and a shared family name proves nothing. Of 76 articles of two people, imported under
the name of one, 49 by the other were kept; of 11 articles of two people called Ruiz, all were kept.
A translation is the author's if the translator is the author.
"""
# pyright: strict

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from functools import lru_cache

from twin_assets.corpus.code_blocks import prose_lines

_LOOKED_AT = 3
"""Number of lines at either end of a post that may contain a byline."""

_NOBODY = frozenset(
    {"admin", "administrator", "anonymous", "author", "blog", "editor", "editorial", "guest", "me"}
    | {"root", "staff", "team", "unknown", "user", "webmaster", "wordpress"}
)
_TRANSLATED = re.compile(r"[,;(]*\s*\btranslated by\b[:\s]*", re.IGNORECASE)
_SEVERAL = re.compile(r"\s*(?:,|;|&|\+|/|\band\b|\bund\b|\bet\b|\by\b|\bmit\b|\bwith\b)\s*")
_ADDRESS = re.compile(r"<[^<>]*>|\([^()]*\)|\S+@\S+|^\s*by\s+|^\s*@", re.IGNORECASE)
_UNSPACED = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Thai to Khmer, Japanese, Chinese, Korean: one word may be a first and a last name."""
_CAPITAL = r"[A-ZÀ-ÖØ-Þ][\w.'’-]*"
_NAME = rf"({_CAPITAL}(?:[ ](?:(?:de|van|von|der|den|la|le|da|di|bin|al)[ ])*{_CAPITAL}){{1,3}})"
_SAID = (
    re.compile(rf"[*_]*(?:[Bb]y|[Ww]ritten by|[Aa]uthor:)[ ]{_NAME}[*_]*[.]?"),
    re.compile(
        r"[*_>]*\s*(?:[Tt]his is an? |[Ee]ditor['’]s note: (?:[Tt]his is )?an? |[Aa] )?"
        rf"[Gg]uest (?:[Pp]ost|[Aa]rticle|[Ee]ssay|[Cc]olumn)(?:,? (?:written )?(?:by|from)|:)[ ]"
        rf"{_NAME}\b.{{0,200}}"
    ),
)
_SAID_TRANSLATOR = (
    re.compile(
        r"[*_>(\[]*(?:[Tt]ranslat(?:ed|ion)(?: from(?: the)? \w+)?(?: into \w+)? by|[Tt]ranslator:"
        r"|[Üü]bersetzt von|[Tt]raduit par|[Tt]raducido por|[Tt]radotto da)"
        rf"[ ]{_NAME}[*_)\]]*[.]?"
    ),
)


def said_author(text: str) -> str:
    """Return the name in a line like "By Jane Doe" or "Guest post by Jane Doe"; "" without one."""
    return _said(text, _SAID)


def said_translator(text: str) -> str:
    """Return the name in a line like "Translated by Jane Doe", or "" without one."""
    return _said(text, _SAID_TRANSLATOR)


def _said(text: str, patterns: Sequence[re.Pattern[str]]) -> str:
    lines = [line.strip() for _, line in prose_lines(text) if line.strip()]
    for line in dict.fromkeys([*lines[:_LOOKED_AT], *lines[-_LOOKED_AT:]]):
        for pattern in patterns:
            if len(line) < 400 and (match := pattern.fullmatch(line)):
                return match[1].rstrip("._")
    return ""


def foreign_bylines(bylines: Collection[str], names: Sequence[str]) -> set[str]:
    """Return the bylines that name somebody else.

    Args:
        bylines: the bylines of the posts; "" names nobody.
        names: the author's name and aliases; without names, nobody is foreign.
    """
    if not names:
        return set()
    return {byline for byline in bylines if not is_by(byline, tuple(names))}


def is_by(byline: str, names: tuple[str, ...]) -> bool:
    """Return whether a byline may be one of `names`: equal, a part of it, or its initials.

    For a translation, the writer and the translator are compared.
    """
    return all(_is_one_of(part, names) for part in _TRANSLATED.split(byline) if part.strip())


def names_one_of(byline: str, names: tuple[str, ...]) -> bool:
    """Return whether a byline is one of `names`, and neither empty nor a role such as "admin"."""
    return bool(_people(byline)) and is_by(byline, names)


def is_translation(byline: str) -> bool:
    """Return whether a byline names a translator."""
    return bool(_TRANSLATED.search(byline))


def _people(byline: str) -> list[tuple[str, ...]]:
    """Return the words of each name in a byline, or none if one is a role such as "admin"."""
    parts = [_words(part) for part in _SEVERAL.split(_ADDRESS.sub(" ", byline).strip())]
    named = [words for words in parts if words]
    return [] if any(set(words) <= _NOBODY for words in named) else named


def _is_one_of(byline: str, names: tuple[str, ...]) -> bool:
    people = _people(byline)
    if not people:
        return True
    whole = _words(_ADDRESS.sub(" ", byline))
    return any(
        _same(words, _words(name)) for name in names for words in [*people, whole] if _words(name)
    )


def may_be_adopted(byline: str) -> bool:
    """Return whether a byline on most posts of a source may be the author's own handle.

    A handle is one word in a script that puts spaces between words.
    """
    plain = _ADDRESS.sub(" ", byline).strip()
    return len(plain.split()) == 1 and not _UNSPACED.search(plain)


def _same(words: Sequence[str], name: Sequence[str]) -> bool:
    """Match `chris wellons` with `c wellons`, `wellons chris`, `chriswellons` and `chris`."""
    if "".join(words) in {"".join(name), "".join(reversed(name))}:
        return True
    few, many = sorted((list(words), list(name)), key=len)
    if not {word for word in few if len(word) > 1} & set(many):
        return False  # initials alone may be anybody's
    left = list(many)
    for word in few:
        match = next((other for other in left if _matches(word, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _matches(word: str, other: str) -> bool:
    return word == other or (1 in (len(word), len(other)) and word[0] == other[0])


@lru_cache(maxsize=1024)
def _words(name: str) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(one for one in plain if not unicodedata.combining(one))
    return tuple(re.findall(r"[^\W_]+", letters.replace("'", "").replace("’", "")))
