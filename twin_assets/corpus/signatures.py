"""Find documents signed by someone else, independently of cleaning.

Scope: finding the signature of an imported post, and comparing it with the author's names. Out of
scope: posts that cleaning drops (`bylines`), counting documents (`document_claims`). This module
and `bylines` do not share code, so that a mistake in one is visible in the other.

The rule is coarser than the cleaning rule. A name is foreign if it has a word that the author's
name lacks, and lacks a word that the author's name has ("Bob Ruiz" and "Ana Ruiz"). Two words match
if one contains the other. A single word may be a handle. It is the author's if no other byline has
more posts in its source, and no post there has the author's own name.
"""
# pyright: strict

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

_LETTERS = re.compile(r"[^\W\d_]{2,}")
_MIN_PART_LENGTH = 3
_ROLE_NAMES = frozenset(
    {"admin", "administrator", "anonymous", "author", "autor", "blog", "by", "contact", "editor"}
    | {"editors", "hello", "info", "mail", "noreply"}
    | {"editorial", "guest", "me", "redaktion", "root", "site", "staff", "system", "team", "the"}
    | {"unknown", "user", "webmaster", "wordpress"}
)
_SIGNATURE_LINE = re.compile(
    r"(?:by|written by|guest post by|автор:?|текст:?|von|gastbeitrag von|par|écrit par|por"
    r"|escrito por|di|door|av|af|translated by|übersetzt von|traduit par|traducido por)"
    r"[ ]((?:[A-ZÀ-ÞА-ЯЁ][\w'’.-]{1,30}[ ]){1,3}[A-ZÀ-ÞА-ЯЁ][\w'’-]{1,30})[.]?"
)
_TRANSLATED_BY = re.compile(r"\btranslated by\b", re.IGNORECASE)
_EDGE_LINES = 3
_MARKUP_CHARACTERS = " \t*_>#"


def find_signature(text: str, byline: str) -> str:
    """Return an imported post's signature: its byline, or the name in a line like "By Ann Lee".

    Args:
        text: the post's body as imported.
        byline: the byline of the export or front matter, or "" if there is none.
    """
    if byline.strip():
        return byline
    stripped_lines = [line.strip(_MARKUP_CHARACTERS) for line in text.split("\n")]
    # A line in lower case below another one is the rest of a wrapped sentence.
    lines = [
        "" if line[0].islower() and previous_line else line
        for previous_line, line in zip(["", *stripped_lines], stripped_lines, strict=False)
        if line
    ]
    for line in (*lines[:_EDGE_LINES], *lines[-_EDGE_LINES:]):
        if 0 < len(line) <= 100 and (
            match := _SIGNATURE_LINE.fullmatch(line[:1].lower() + line[1:])
        ):
            return match[1]
    return ""


def find_foreign_signatures(
    signatures: Iterable[tuple[str, str, str]], names: Sequence[str]
) -> frozenset[str]:
    """Return the documents that someone other than the author signed.

    Args:
        signatures: the key, the source and the signature of each document; an unsigned document has
            the signature "".
        names: the author's name and aliases; without names, no document is returned.
    """
    rows = [row for row in signatures if row[2].strip()]
    if not names:
        return frozenset()
    foreign_names = {
        name
        for _, _, name in rows
        if any(_is_foreign(part, names) for part in _TRANSLATED_BY.split(name))
    }
    counts_by_source: dict[str, Counter[str]] = defaultdict(Counter)
    for _, source, name in rows:
        counts_by_source[source][name] += 1
    sources_signed_by_name = {
        source
        for _, source, name in rows
        if name not in foreign_names and _list_personal_words(name)
    }
    return frozenset(
        key
        for key, source, name in rows
        if name in foreign_names
        and (
            source in sources_signed_by_name
            or not _is_handle_of_owner(name, counts_by_source[source])
        )
    )


def _list_personal_words(name: str) -> list[str]:
    """Return the words of a name that are not a role ("admin", "staff")."""
    account_name = name.partition("@")[0].strip()  # of an address; a handle begins with the @
    return [word for word in _split_name(account_name or name) if word not in _ROLE_NAMES]


def _is_foreign(name: str, names: Sequence[str]) -> bool:
    personal_words = _list_personal_words(name)
    author_names = [words for author_name in names if (words := _split_name(author_name))]
    if not personal_words or not author_names:
        return False
    if "".join(personal_words) in {"".join(words) for words in author_names}:
        return False
    return all(
        _has_unmatched_word(personal_words, words) and _has_unmatched_word(words, personal_words)
        for words in author_names
    )


def _has_unmatched_word(left_words: Sequence[str], right_words: Sequence[str]) -> bool:
    """Return whether some right word is not similar to any left word."""
    return not all(any(_is_similar(left, right) for left in left_words) for right in right_words)


def _is_similar(left: str, right: str) -> bool:
    is_long_enough = min(len(left), len(right)) >= _MIN_PART_LENGTH
    return left == right or (is_long_enough and (left in right or right in left))


def _is_handle_of_owner(name: str, name_counts: Mapping[str, int]) -> bool:
    return len(name.split()) == 1 and name_counts[name] == max(name_counts.values())


def _split_name(name: str) -> list[str]:
    folded_name = unicodedata.normalize("NFKD", name).casefold()
    return _LETTERS.findall(
        "".join(character for character in folded_name if unicodedata.category(character) != "Mn")
    )
