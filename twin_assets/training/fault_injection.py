"""Corrupt training data on purpose, to show that the gate and the loop catch it.

Scope: the method of corruption. Out of scope: any other use of the data; a checkpoint trained on
them has the method's name in the data version of its manifest.
"""
# pyright: strict

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import polars as pl

SHUFFLED_ANSWERS = "shuffled_answers"


def with_fault(samples: pl.DataFrame, way: str, *, seed: int) -> pl.DataFrame:
    """Give each question an answer from another document, like a join on the wrong column.

    Args:
        samples: samples with `sample_id`, `document_id`, `messages` (the last is the answer).
        way: `SHUFFLED_ANSWERS`.

    Raises:
        TwinError: the method is unknown, or most samples are of one document.
    """
    import polars as pl

    check_way(way)
    ordered = samples.sort("sample_id")
    documents = ordered["document_id"].to_list()
    talks: list[list[dict[str, Any]]] = ordered["messages"].to_list()
    lots = random.Random(seed)
    donors = list(range(len(talks)))
    lots.shuffle(donors)
    # Samples are grouped by document, so a shift by the largest group reaches another document.
    donors.sort(key=lambda index: documents[index])
    most = max(documents.count(document) for document in set(documents))
    if len(talks) < 2 * most:
        raise TwinError(
            "give each question another document's answer",
            found=f"{most} of {len(talks)} samples are of one document",
            next_step="import more posts",
        )
    taken = dict(zip(donors, donors[most:] + donors[:most], strict=True))
    mixed = [[*talk[:-1], talks[taken[index]][-1]] for index, talk in enumerate(talks)]
    return ordered.with_columns(pl.Series("messages", mixed, dtype=ordered.schema["messages"]))


def check_way(way: str) -> None:
    """Require a known method of corruption.

    Raises:
        TwinError: the method is unknown.
    """
    if way != SHUFFLED_ANSWERS:
        raise TwinError(
            f"spoil training data by {way!r}",
            found="no such way",
            next_step=f"name {SHUFFLED_ANSWERS}, or none",
        )
