"""Check that every prompt contains its question and passages, and no unfilled placeholder.

Scope: finding unfilled placeholders of a template, as opposed to braces that the author wrote. Out
of scope: rendering (`twin_resources.prompt.templates`), the answer (`dataset_claims.py`).

Unfilled placeholders are found by counting. Text such as `{question}`, `{{ name }}` or `None` may
occur in a prompt as often as in its values: the question, and the passages with their titles. Any
further occurrence comes from the template. A question may contain a placeholder if its post does.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import polars as pl

from twin_assets.corpus.shingles import split_words
from twin_assets.instructions.dataset_claims import ErrorCounts
from twin_resources.prompt.templates import READER_PREFIX

ROLES = ("system", "user", "assistant")
_PLACEHOLDER = re.compile(
    r"\{\{[^{}\n]*\}\}|\{%[^{}\n]*%\}|\$?\{\w*\}|%\(\w+\)s"  # Jinja, str.format, shell, %
    r"|\bNone\b|“\s*”"  # a missing value
)


@dataclass(frozen=True)
class RenderingErrors(ErrorCounts):
    """Counts of rows with an incomplete prompt.

    Attributes:
        other_roles: the messages are not exactly one each from system, user and assistant.
        empty: a message or the question has no words.
        unstripped: a message begins or ends with white space, which would merge with chat markup.
        no_question: the user's message does not end with the question.
        no_passage: the user's message lacks the text of a passage that the row names.
        left_open: the prompt has a placeholder that is in neither the passages nor the question.
        open_question: the question has a placeholder that the post does not have.
    """

    other_roles: int = 0
    empty: int = 0
    unstripped: int = 0
    no_question: int = 0
    no_passage: int = 0
    left_open: int = 0
    open_question: int = 0


def count_placeholders(text: str) -> Counter[str]:
    """Count the texts that look like an unfilled placeholder or a missing value."""
    return Counter(_PLACEHOLDER.findall(text))


def check_rendering(
    dataset: pl.DataFrame, chunks: pl.DataFrame, documents: pl.DataFrame
) -> RenderingErrors:
    """Compare every prompt with its expected content.

    Args:
        dataset: `document_id`, `question`, `messages`, `context_chunk_ids`.
        chunks: `chunk_id`, `title`, `text`, at least of the chunks that the dataset names; the
            check of contexts reports missing chunks.
        documents: `document_id`, `title`, `text`, at least of the documents that
            `find_documents_with_placeholders` names.
    """
    passage_by_chunk = {chunk: (title, text) for chunk, title, text in chunks.iter_rows()}
    posts = {name: f"{title}\n{text}" for name, title, text in documents.iter_rows()}
    error_counts: Counter[str] = Counter()
    for row in dataset.iter_rows(named=True):
        messages: list[dict[str, str]] = row["messages"]
        question: str = row["question"].strip()
        if tuple(message["role"] for message in messages) != ROLES:
            error_counts["other_roles"] += 1
            continue
        contents = [message["content"] for message in messages]
        system_message, prompt = contents[:2]
        error_counts["empty"] += not all(split_words(text) for text in (*contents, question))
        error_counts["unstripped"] += any(text != text.strip() for text in contents)
        error_counts["no_question"] += not prompt.endswith(question) and not (
            _normalize(prompt).endswith(_normalize(question))
        )
        passages = [
            passage_by_chunk[chunk]
            for chunk in row["context_chunk_ids"]
            if chunk in passage_by_chunk
        ]
        error_counts["no_passage"] += any(
            text.strip() not in prompt and _normalize(text) not in _normalize(prompt)
            for _, text in passages
        )
        expected = count_placeholders(question)
        for passage in passages:
            for part in passage:
                expected += count_placeholders(part)
        error_counts["left_open"] += bool(
            count_placeholders(system_message) or count_placeholders(prompt) - expected
        )
        post = posts.get(row["document_id"], "")
        error_counts["open_question"] += any(
            placeholder not in post for placeholder in count_placeholders(question)
        )
    return RenderingErrors(dataset.height, **error_counts)


def _normalize(text: str) -> str:
    """Remove white space, which `render` adds to control tokens, and prefixes of readers' texts."""
    return "".join(text.replace(READER_PREFIX, "").split())


def find_documents_with_placeholders(dataset: pl.DataFrame) -> list[str]:
    """Return the ids of the documents whose questions contain a placeholder.

    Args:
        dataset: `document_id`, `question`.
    """
    return sorted({name for name, question in dataset.iter_rows() if count_placeholders(question)})
