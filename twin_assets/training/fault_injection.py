"""Training data that is broken on purpose, and says so: what gate and loop are shown to catch.

Scope: the way of breaking it. Out of scope: using it for anything else; a
checkpoint that was trained on it carries the way's name in the data version of its manifest.
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
    """The samples, each question with another document's answer: a join on the wrong column.

    Args:
        samples: with `sample_id`, `document_id`, `messages` (the last one is the answer).
        way: `SHUFFLED_ANSWERS`.

    Raises:
        TwinError: an unknown way, or most samples are of one document.
    """
    import polars as pl

    check_way(way)
    ordered = samples.sort("sample_id")
    documents = ordered["document_id"].to_list()
    talks: list[list[dict[str, Any]]] = ordered["messages"].to_list()
    lots = random.Random(seed)
    donors = list(range(len(talks)))
    lots.shuffle(donors)
    # One document after the other, so that half way round the circle stands another's answer.
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
    """Raises TwinError when there is no such way."""
    if way != SHUFFLED_ANSWERS:
        raise TwinError(
            f"spoil training data by {way!r}",
            found="no such way",
            next_step=f"name {SHUFFLED_ANSWERS}, or none",
        )
