"""Make the training samples for the adapter of other authors from the bundled authors' posts.

Scope: choosing the authors and making their samples. Out of scope: the posts
(`quality/judges/texts.py`), training (`reference_adapter.py`), and an author's own samples
(`twin_assets/instructions`).

The question for a passage is drafted from the passage itself, by the function that drafts the
control's questions (`measures/author_control.py`). Four of five prompts show passages, as in an
author's own samples. These passages surround the answer in its post, as retrieval would find them.
With the same number of tokens, an adapter trained without passages reads more answers, in prompts
like the control's. Compared with such an adapter, a good candidate was refused
(tests/bench/RESULTS.md).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from twin_assets.evaluation.measures.author_control import draft_question
from twin_assets.instructions.back_translation import TEMPLATES_VERSION
from twin_assets.instructions.contexts import CONTEXT_VERSION, has_context
from twin_resources.prompt.shown_passages import PromptPassage
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.texts import (
    WriterSample,
    bundled_writers,
    exclude_copies_of_author,
)

VERSION = "2"  # increases when the samples made from the same posts change
TOKENS_PER_WORD = 4 / 3
_DATE_PREFIX = re.compile(r"\A\d{4}-\d{2}-\d{2}-")


def select_other_writers(author: str, own: Iterable[str]) -> list[WriterSample]:
    """Return the bundled authors except this author, who may be bundled under another slug.

    Args:
        own: the author's texts.
    """
    return exclude_copies_of_author(bundled_writers(exclude=[author]), own)


def make_samples(
    writer_samples: Sequence[WriterSample], *, context_tokens: int
) -> list[dict[str, Any]]:
    """Return a training sample for every passage: its `sample_id`, `document_id` and `messages`.

    Args:
        context_tokens: largest number of tokens for the passages in a prompt
            (`Author.context_tokens`).
    """
    return [
        {
            "sample_id": (sample_id := f"{document}/{index:03}"),
            "document_id": document,
            "messages": [
                *render(
                    DEFAULT_TEMPLATE,
                    author_name=_display_name(writer.name),
                    question=draft_question(text),
                    passages=(
                        _select_context(document, passages, index, max_tokens=context_tokens)
                        if has_context(sample_id)
                        else ()
                    ),
                ),
                {"role": "assistant", "content": text},
            ],
        }
        for writer in writer_samples
        for document, passages in _group_by_document(writer)
        for index, text in enumerate(passages)
    ]


def make_posts(writer_samples: Sequence[WriterSample]) -> list[Mapping[str, str]]:
    """Return `sample_id`, `document_id` and `text` of every post, for a recipe with a raw stage."""
    return [
        {"sample_id": document, "document_id": document, "text": "\n\n".join(passages)}
        for writer in writer_samples
        for document, passages in _group_by_document(writer)
    ]


def hash_samples(writer_samples: Sequence[WriterSample], *, context_tokens: int) -> str:
    """Return the SHA-256, in hex, of all inputs that determine the samples."""
    versions = [VERSION, TEMPLATES_VERSION, CONTEXT_VERSION, DEFAULT_TEMPLATE.hash, context_tokens]
    texts = [
        [writer.name, [list(passage) for passage in writer.passages]] for writer in writer_samples
    ]
    return hashlib.sha256(json.dumps([versions, texts]).encode()).hexdigest()


def _group_by_document(writer: WriterSample) -> list[tuple[str, list[str]]]:
    groups = groupby(writer.passages, key=lambda passage: passage[0])
    return [(f"{writer.name}/{name}", [text for _, text in group]) for name, group in groups]


def _select_context(
    document: str, passages: Sequence[str], answer_index: int, *, max_tokens: int
) -> list[PromptPassage]:
    """Return the nearest other passages of the post that fit, in the post's order."""
    words_left = max_tokens / TOKENS_PER_WORD
    chosen_indices: list[int] = []
    for index in sorted(range(len(passages)), key=lambda i: (abs(i - answer_index), i)):
        word_count = len(passages[index].split())
        if index != answer_index and word_count <= words_left:
            chosen_indices.append(index)
            words_left -= word_count
    title = _DATE_PREFIX.sub("", document.rpartition("/")[2]).replace("-", " ").capitalize()
    return [
        # The positions are far enough apart for an empty line between passages.
        PromptPassage(
            document, title, passages[index], None, position=index, start=10 * index, end=10 * index
        )
        for index in sorted(chosen_indices)
    ]


def _display_name(slug: str) -> str:
    """Return the name for prompts, made from a bundled author's slug."""
    return " ".join(part.capitalize() for part in slug.split("-"))
