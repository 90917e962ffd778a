"""Render quotations as the Markdown at the start of an answer, and record their positions.

Scope: the Markdown of quotations and of the message that no post covers the subject, and removing
quotations from an earlier answer. Out of scope: choosing quotations (`quoter.py`), the fields of an
answer (`gateway/exchange/exchange.py`).

Annotations: `url_citation` in https://platform.openai.com/docs/api-reference/chat/object
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from twin_resources.models.quotes.quoter import Quote
from twin_resources.models.retrieval.search import is_years_newer

PROSE_MARK = "✎ "
"""Prefix of the line above a program's prose that states whose words follow."""
MAX_NEAREST = 3
NOTICE_PREFIX = "ⓘ "
"""Prefix of the paragraph above an answer that states who wrote it."""
_PROSE_LABEL = re.compile(rf"^{PROSE_MARK}\*\*(?P<label>[^\n]+)\*\*(?:\n\n|\Z)", re.MULTILINE)
_MARKUP = re.compile(r"([\\`*_\[\]<>#|])")


class NamedPost(Protocol):
    """A post that an answer names: a `retrieval.Passage` or a `Quote`."""

    @property
    def document_id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def published_at(self) -> datetime | None: ...


class ShownPassage(NamedPost, Protocol):
    """A passage that an answer shows without quoting it as the answer."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass(frozen=True)
class AnswerOpening:
    """The text before the generated prose, or instead of it.

    Attributes:
        text: Markdown; may be empty.
        quote_spans: (begin, end) of each quotation or closest passage in `text`, without its source
            line.
        ages: for each quotation, that and how it is older than the first one, or empty.
    """

    text: str = ""
    quote_spans: tuple[tuple[int, int], ...] = ()
    ages: tuple[str, ...] = ()


def render_quotes(quotes: Sequence[Quote], *, found: str = "", older: str = "") -> AnswerOpening:
    """Render the quotations, each followed by its post and date.

    Args:
        found: by whom the quotations were found, for the first source line.
        older: for the source line of a quotation that is years older than the first one; `{year}`
            is its year.
    """
    text = ""
    spans: list[tuple[int, int]] = []
    ages = tuple(
        older.replace("{year}", f"{quote.published_at:%Y}")
        if is_years_newer(quotes[0], quote)
        else ""
        for quote in quotes
    )
    for quote, note in zip(quotes, (found, *ages[1:]), strict=True):
        block = _quote_block(quote.text)
        spans.append((len(text), len(text) + len(block)))
        text += f"{block}\n>\n> — {_source_line(quote)}{f' · {note}' if note else ''}\n\n"
    return AnswerOpening(text.rstrip("\n"), tuple(spans), ages)


def render_closest(message: str, closest: Sequence[ShownPassage]) -> AnswerOpening:
    """Render the program's message that nothing was found, followed by the closest passages."""
    text = message
    spans: list[tuple[int, int]] = []
    for passage in closest:
        block = _quote_block(passage.text)
        spans.append((len(text) + 2, len(text) + 2 + len(block)))
        text += f"\n\n{block}\n>\n> — {_source_line(passage)}"
    return AnswerOpening(text, tuple(spans))


def extract_prose(answer: str) -> str:
    """Return the model's own prose from an earlier answer, without the quotations.

    Clients send back the whole text of earlier turns. A prompt has little space, and the quoted
    text was among the passages for the earlier question.
    """
    if answer.startswith(NOTICE_PREFIX):
        answer = answer.partition("\n\n")[2]
    above, label, prose = split_prose(answer)
    return prose if label or above.startswith("> ") else above


def render_prose_label(label: str) -> str:
    """Render the line that stands above a program's prose and states whose words follow."""
    return f"{PROSE_MARK}**{' '.join(label.split())}**\n\n"


def split_prose(answer: str) -> tuple[str, str, str]:
    """Return an answer's text above the prose, the label, and the prose.

    Without a label, the label and the prose are empty.
    """
    label = _PROSE_LABEL.search(answer)
    if label is None:
        return answer, "", ""
    return answer[: label.start()].rstrip("\n"), label["label"], answer[label.end() :]


def citations(quotes: Sequence[Quote], opening: AnswerOpening) -> list[dict[str, Any]]:
    """Return a citation for each quotation whose post has a URL, with indexes in characters."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "url": quote.url,
                "title": quote.title,
                "start_index": begin,
                "end_index": end,
            },
        }
        for quote, (begin, end) in zip(quotes, opening.quote_spans, strict=True)
        if quote.url
    ]


def quote_fields(quotes: Sequence[Quote], opening: AnswerOpening) -> list[Mapping[str, Any]]:
    """Return the field `twin.quotes` of an answer.

    `at` is a range of characters in the answer, and `start` and `end` are offsets in the post.
    `age` says how a quotation is older than the first one.
    """
    ages = opening.ages or [""] * len(quotes)
    return [
        {
            "text": quote.text,
            **post_fields(quote),
            "start": quote.start,
            "end": quote.end,
            "score": round(quote.score, 4),
            "age": age,
            "at": list(span),
        }
        for quote, span, age in zip(quotes, opening.quote_spans, ages, strict=True)
    ]


def closest_fields(
    closest: Sequence[ShownPassage], opening: AnswerOpening
) -> list[Mapping[str, Any]]:
    """Return the field `twin.nearest` of an answer: the closest passages where nothing is quoted.

    `at`, `start` and `end` are those of `quote_fields`.
    """
    return [
        {
            "text": passage.text,
            **post_fields(passage),
            "start": passage.start,
            "end": passage.end,
            "at": list(span),
        }
        for passage, span in zip(closest, opening.quote_spans, strict=True)
    ]


def post_fields(post: NamedPost) -> dict[str, str]:
    """Return a named post's fields for an answer; `published_at` is an ISO date or empty."""
    return {
        "document_id": post.document_id,
        "title": post.title,
        "url": post.url,
        "published_at": post.published_at.date().isoformat() if post.published_at else "",
    }


def format_for_trace(quotes: Iterable[Quote]) -> str:
    """Format quotations for a trace as `document:start-end`, separated by commas."""
    return ",".join(f"{quote.document_id}:{quote.start}-{quote.end}" for quote in quotes)


def _quote_block(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _source_line(post: NamedPost) -> str:
    title = _MARKUP.sub(r"\\\1", " ".join(post.title.split())) or post.document_id
    is_link = post.url.startswith(("https://", "http://")) and not re.search(r"[\s()<>]", post.url)
    source = f"[{title}]({post.url})" if is_link else title
    return f"{source}, {post.published_at.date().isoformat()}" if post.published_at else source
