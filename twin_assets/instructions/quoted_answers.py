"""Find answers that contain words quoted in their posts as imported.

Scope: reading samples with their sources, and counting. Out of scope: finding the quotations in a
source (`corpus/source_quotations`), choosing passages (`answer_passages`, which reads the cleaned
text and does not use this module).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.corpus.source_quotations import count_held, quotations_of
from twin_resources.storage.tables.rows_by_id import read_by_id

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

_SOURCES_AT_ONCE = 2_000
_TRAINED_OR_HELD_OUT = "split IN ('train', 'held_out')"


@dataclass(frozen=True)
class QuotedAnswers:
    """Answers that contain quoted text.

    Attributes:
        answers: all training and held-out answers.
        with_quotations: documents whose posts quote somebody.
        holding: answers that contain at least a third of a quoted paragraph.
        without_source: answers whose post no longer exists, so that they cannot be checked.
    """

    answers: int
    with_quotations: int
    holding: int
    without_source: int

    @property
    def none(self) -> bool:
        return not (self.holding or self.without_source)


def quoted_answers(answers: pl.DataFrame, sources: pl.DataFrame) -> QuotedAnswers:
    """Compare answers with the quotations of their posts.

    Args:
        answers: `document_id`, `answer`.
        sources: `document_id`, `text`, `markup` of the posts as they were imported.
    """
    quoted = {
        row["document_id"]: found
        for row in sources.iter_rows(named=True)
        if (found := quotations_of(row))
    }
    holding = sum(
        bool(count_held(quoted[document_id], answer))
        for document_id, answer in answers.select("document_id", "answer").iter_rows()
        if document_id in quoted
    )
    strange = answers.join(sources, on="document_id", how="anti").height
    return QuotedAnswers(answers.height, len(quoted), holding, strange)


def quoted_answers_of(tables: Tables, author: str) -> QuotedAnswers:
    """Compare the answers of an author's stored dataset; bodies are read a few thousand at a time.

    Raises:
        TableMissing: posts, documents or dataset were never materialized.
    """
    answers = tables.read(
        "instruction_dataset",
        author,
        columns=["document_id", "answer"],
        where=_TRAINED_OR_HELD_OUT,
    )
    named = tables.read("cleaned_documents", author, columns=["document_id", "source_id"])
    named = named.join(answers, on="document_id", how="semi")
    found: list[QuotedAnswers] = []
    for part in named.iter_slices(_SOURCES_AT_ONCE):
        columns = ("source_id", "text", "markup")
        posts = read_by_id(tables, "raw_posts", author, "source_id", part["source_id"], columns)
        of_part = answers.join(part, on="document_id", how="semi")
        found.append(quoted_answers(of_part, part.join(posts, on="source_id")))
    unknown = answers.join(named, on="document_id", how="anti").height
    return QuotedAnswers(
        answers=answers.height,
        with_quotations=sum(one.with_quotations for one in found),
        holding=sum(one.holding for one in found),
        without_source=unknown + sum(one.without_source for one in found),
    )
