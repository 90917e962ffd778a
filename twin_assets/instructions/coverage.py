"""Check that every document of the author is in the dataset, or absent for a known reason.

Scope: comparing documents, drafts and samples. Out of scope: finding the passages of a text, and
the reason if there are none (`answer_passages.py`).
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from twin_assets.instructions.answer_passages import find_missing_passage_reason


@dataclass(frozen=True)
class Coverage:
    """Counts of documents with and without samples.

    Attributes:
        documents: the number of kept documents.
        with_samples: the number of documents with a training or held-out sample.
        without: the number of documents without such a sample, by reason: `all_left_out` if each of
            their samples would leak across splits, else the result of
            `find_missing_passage_reason`.
        unexplained: the number of documents with a passage but no sample.
        lost_drafts: the number of drafts without a sample.
        strangers: the number of documents that have samples but are not kept.
        words: the share of the documents' words that are in a draft.
    """

    documents: int
    with_samples: int
    without: dict[str, int]
    unexplained: int
    lost_drafts: int
    strangers: int
    words: float

    @property
    def is_complete(self) -> bool:
        return not (self.unexplained or self.lost_drafts or self.strangers)


def measure_coverage(
    dataset: pl.DataFrame, drafts: pl.DataFrame, documents: pl.DataFrame, texts: Mapping[str, str]
) -> Coverage:
    """Account for every kept document.

    Args:
        dataset: `sample_id`, `document_id`, `split`.
        drafts: `sample_id`, `words`.
        documents: `document_id`, `words` of the kept documents.
        texts: texts by document id, at least those of `find_documents_without_samples`.
    """
    document_ids = set(documents["document_id"].to_list())
    sampled_ids = set(dataset["document_id"].to_list())
    used_ids = set(dataset.filter(pl.col("split") != "left_out")["document_id"].to_list())
    missing_reasons = Counter({"all_left_out": len((sampled_ids - used_ids) & document_ids)})
    unexplained_count = 0
    for document in sorted(document_ids - sampled_ids):
        if reason := find_missing_passage_reason(texts[document]):
            missing_reasons[reason] += 1
        else:
            unexplained_count += 1
    words = int(documents["words"].sum())
    return Coverage(
        documents=len(document_ids),
        with_samples=len(used_ids & document_ids),
        without=dict(sorted((+missing_reasons).items())),
        unexplained=unexplained_count,
        lost_drafts=len(set(drafts["sample_id"].to_list()) - set(dataset["sample_id"].to_list())),
        strangers=len(sampled_ids - document_ids),
        words=round(int(drafts["words"].sum()) / words, 3) if words else 0.0,
    )


def find_documents_without_samples(dataset: pl.DataFrame, documents: pl.DataFrame) -> list[str]:
    """Return the ids of kept documents without a row in the dataset."""
    return documents.join(dataset, on="document_id", how="anti")["document_id"].to_list()
