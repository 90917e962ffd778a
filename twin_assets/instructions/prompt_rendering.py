"""Whether every prompt of a dataset is filled in: the question, the passages, nothing left open.

Scope: finding what a template left open, told from braces that the author wrote. Out of
scope: rendering (`twin_resources.prompt.templates`), the answer (`dataset_claims.py`).

What a template leaves open is found by counting. A mark such as `{question}`, `{{ name }}` or
`None` may stand in a prompt as often as in what was filled in, the passages with their titles and
the question; one more is the template's. In a question it may stand where the post has it too.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass

import polars as pl

from twin_assets.corpus.shingles import words_of
from twin_resources.prompt.templates import READERS

ROLES = ("system", "user", "assistant")
_OPEN = re.compile(
    r"\{\{[^{}\n]*\}\}|\{%[^{}\n]*%\}|\$?\{\w*\}|%\(\w+\)s"  # Jinja, str.format, shell, %
    r"|\bNone\b|“\s*”"  # a value that was missing
)


@dataclass(frozen=True)
class Rendering:
    """Rows whose prompt is not filled in.

    Attributes:
        other_roles: the messages are not one of the system, the user and the assistant each.
        empty: a message, or the question, without a word.
        unstripped: a message begins or ends with white space, which merges with a chat markup.
        no_question: the user's message does not end with the question.
        no_passage: it does not hold the text of a passage that the row names.
        left_open: a mark of a template that neither passages nor question brought in.
        open_question: one in the question that the post does not have.
    """

    rows: int
    other_roles: int = 0
    empty: int = 0
    unstripped: int = 0
    no_question: int = 0
    no_passage: int = 0
    left_open: int = 0
    open_question: int = 0

    @property
    def full(self) -> bool:
        return not any(count for name, count in asdict(self).items() if name != "rows")


def marks_in(text: str) -> Counter[str]:
    """Marks that a template may leave, by how often they stand in a text."""
    return Counter(_OPEN.findall(text))


def rendering(dataset: pl.DataFrame, chunks: pl.DataFrame, documents: pl.DataFrame) -> Rendering:
    """Compare every prompt with what it should hold.

    Args:
        dataset: `document_id`, `question`, `messages`, `context_chunk_ids`.
        chunks: `chunk_id`, `title`, `text`, at least those that the dataset names; one that is
            missing is left to the check of contexts.
        documents: `document_id`, `title`, `text`, at least those that `asks_openly` names.
    """
    shown = {chunk: (title, text) for chunk, title, text in chunks.iter_rows()}
    posts = {name: f"{title}\n{text}" for name, title, text in documents.iter_rows()}
    broken: Counter[str] = Counter()
    for row in dataset.iter_rows(named=True):
        messages: list[dict[str, str]] = row["messages"]
        question: str = row["question"].strip()
        if tuple(message["role"] for message in messages) != ROLES:
            broken["other_roles"] += 1
            continue
        contents = [message["content"] for message in messages]
        system, prompt = contents[:2]
        broken["empty"] += not all(words_of(text) for text in (*contents, question))
        broken["unstripped"] += any(text != text.strip() for text in contents)
        broken["no_question"] += not prompt.endswith(question) and not (
            _unmarked(prompt).endswith(_unmarked(question))
        )
        passages = [shown[chunk] for chunk in row["context_chunk_ids"] if chunk in shown]
        broken["no_passage"] += any(
            text.strip() not in prompt and _unmarked(text) not in _unmarked(prompt)
            for _, text in passages
        )
        brought = marks_in(question)
        for passage in passages:
            for part in passage:
                brought += marks_in(part)
        broken["left_open"] += bool(marks_in(system) or marks_in(prompt) - brought)
        post = posts.get(row["document_id"], "")
        broken["open_question"] += any(mark not in post for mark in marks_in(question))
    return Rendering(dataset.height, **broken)


def _unmarked(text: str) -> str:
    """Without what `render` puts into a text: spaces in control tokens, the mark of a reader's."""
    return "".join(text.replace(READERS, "").split())


def asks_openly(dataset: pl.DataFrame) -> list[str]:
    """Ids of the documents whose questions hold such a mark: their texts decide.

    Args:
        dataset: `document_id`, `question`.
    """
    return sorted({name for name, question in dataset.iter_rows() if marks_in(question)})
