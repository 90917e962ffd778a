"""Find answers that contain words that their posts, as imported, quote from someone else.

Scope: reading samples with their sources, and counting. Out of scope: finding the quotations in a
source (`corpus/source_quotations`), choosing passages (`answer_passages`, which reads the cleaned
text and does not use this module).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.corpus.source_quotations import count_contained_quotations, find_quotations
from twin_resources.storage.tables.rows_by_id import read_by_id

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

_SOURCE_BATCH_SIZE = 2_000
_AUTHOR_SPLITS_CONDITION = "split IN ('train', 'held_out')"


@dataclass(frozen=True)
class QuotedAnswers:
    """Counts of answers that contain quoted text.

    Attributes:
        answers: the number of training and held-out answers.
        with_quotations: the number of documents whose posts contain quotations.
        holding: the number of answers that contain at least a third of a quoted paragraph.
        without_source: the number of answers that cannot be checked because their post is missing.
    """

    answers: int
    with_quotations: int
    holding: int
    without_source: int

    @property
    def is_clean(self) -> bool:
        return not (self.holding or self.without_source)


def count_quoted_answers(answers: pl.DataFrame, sources: pl.DataFrame) -> QuotedAnswers:
    """Compare answers with the quotations of their posts.

    Args:
        answers: `document_id`, `answer`.
        sources: `document_id`, `text`, `markup` of the posts as they were imported.
    """
    quotations_by_document = {
        row["document_id"]: document_quotations
        for row in sources.iter_rows(named=True)
        if (document_quotations := find_quotations(row))
    }
    quoting_count = sum(
        bool(count_contained_quotations(quotations_by_document[document_id], answer))
        for document_id, answer in answers.select("document_id", "answer").iter_rows()
        if document_id in quotations_by_document
    )
    without_source = answers.join(sources, on="document_id", how="anti").height
    return QuotedAnswers(answers.height, len(quotations_by_document), quoting_count, without_source)


def count_stored_quoted_answers(tables: Tables, author: str) -> QuotedAnswers:
    """Compare the answers of an author's stored dataset; sources are read in batches.

    Raises:
        TableNotFoundError: posts, documents or dataset were never materialized.
    """
    answers = tables.read(
        "instruction_dataset",
        author,
        columns=["document_id", "answer"],
        where=_AUTHOR_SPLITS_CONDITION,
    )
    documents = tables.read("cleaned_documents", author, columns=["document_id", "source_id"])
    documents = documents.join(answers, on="document_id", how="semi")
    partial_counts: list[QuotedAnswers] = []
    for batch in documents.iter_slices(_SOURCE_BATCH_SIZE):
        columns = ("source_id", "text", "markup")
        posts = read_by_id(tables, "raw_posts", author, "source_id", batch["source_id"], columns)
        batch_answers = answers.join(batch, on="document_id", how="semi")
        partial_counts.append(
            count_quoted_answers(batch_answers, batch.join(posts, on="source_id"))
        )
    unknown_count = answers.join(documents, on="document_id", how="anti").height
    return QuotedAnswers(
        answers=answers.height,
        with_quotations=sum(counts.with_quotations for counts in partial_counts),
        holding=sum(counts.holding for counts in partial_counts),
        without_source=unknown_count + sum(counts.without_source for counts in partial_counts),
    )
