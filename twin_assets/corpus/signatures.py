"""Whether a document is signed by somebody else, found by other means than the cleaning's.

Belongs here: who signed a post as it was imported, and comparing that with the author's names. Does
not belong here: what cleaning leaves out (`bylines`), counting documents (`document_claims`). The
two share no code: a mistake in one shows in the other.

The rule is coarser than the cleaning's, and asks for a person's name: two words or more, none of
which is in, or holds, a word of the author's. A single word may be a handle: it is the author's
where no other byline is under more posts of its source.
"""
# pyright: strict

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

_LETTERS = re.compile(r"[^\W\d_]{2,}")
_SHORTEST_PART = 3
_OFFICES = frozenset(
    {"admin", "administrator", "anonymous", "author", "autor", "blog", "by", "editor", "editors"}
    | {"editorial", "guest", "me", "redaktion", "root", "site", "staff", "system", "team", "the"}
    | {"unknown", "user", "webmaster", "wordpress"}
)
_SIGNED = re.compile(
    r"(?:by|written by|guest post by|автор:?|текст:?|von|gastbeitrag von|par|écrit par|por"
    r"|escrito por|di|door|av|af)"
    r"[ ]((?:[A-ZÀ-ÞА-ЯЁ][\w'’.-]{1,30}[ ]){1,3}[A-ZÀ-ÞА-ЯЁ][\w'’-]{1,30})[.]?",
)
_LINES = 3
_MARKS = " \t*_>#"


def signed_by(text: str, byline: str) -> str:
    """Who signed a post, as it was imported: its byline, else a line like "By Ann Lee" or "Von …".

    Args:
        text: the post's body as it came.
        byline: what the export or front matter says; "" when nothing does.
    """
    if byline.strip():
        return byline
    lines = [line.strip(_MARKS) for line in text.split("\n") if line.strip(_MARKS)]
    for line in (*lines[:_LINES], *lines[-_LINES:]):
        if len(line) <= 100 and (match := _SIGNED.fullmatch(line[:1].lower() + line[1:])):
            return match[1]
    return ""


def signed_by_others(
    signed: Iterable[tuple[str, str, str]], names: Sequence[str]
) -> frozenset[str]:
    """Documents that somebody other than the author signed.

    Args:
        signed: key, source and who signed ("": nobody) of each document.
        names: the author's name and aliases; with none, nobody is somebody else.
    """
    rows = [row for row in signed if row[2].strip()]
    if not names:
        return frozenset()
    strange = {name for _, _, name in rows if _is_strange(name, names)}
    often: dict[str, dict[str, int]] = {}
    for _, source, name in rows:
        of_source = often.setdefault(source, {})
        of_source[name] = of_source.get(name, 0) + 1
    return frozenset(
        key
        for key, source, name in rows
        if name in strange and not _is_handle_of_owner(name, often[source])
    )


def _is_strange(name: str, names: Sequence[str]) -> bool:
    parts = [word for word in _letters(name) if word not in _OFFICES]
    known = [word for own in names for word in _letters(own)]
    if not parts or not known:
        return False
    if "".join(parts) in {"".join(_letters(own)) for own in names}:
        return False
    return not any(
        word == other or (min(len(word), len(other)) >= _SHORTEST_PART and _holds(word, other))
        for word in parts
        for other in known
    )


def _holds(word: str, other: str) -> bool:
    return word in other or other in word


def _is_handle_of_owner(name: str, often: Mapping[str, int]) -> bool:
    return len(name.split()) == 1 and often[name] == max(often.values())


def _letters(name: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", name).casefold()
    return _LETTERS.findall("".join(one for one in plain if unicodedata.category(one) != "Mn"))
