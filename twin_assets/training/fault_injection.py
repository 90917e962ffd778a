"""Corrupt training data deliberately, to show that the gate and the loop detect it.

Scope: the method of corruption. Out of scope: any other use of the data. If a checkpoint was
trained on corrupted data, the data version in its manifest contains the method's name.
"""
# pyright: strict

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import polars as pl

SHUFFLED_ANSWERS = "shuffled_answers"


def inject_fault(samples: pl.DataFrame, method: str, *, seed: int) -> pl.DataFrame:
    """Give each question an answer from another document, like a join on the wrong column.

    Args:
        samples: samples with `sample_id`, `document_id`, `messages` (the last is the answer).
        method: `SHUFFLED_ANSWERS`.

    Raises:
        TwinError: the method is unknown, or most samples are from one document.
    """
    import polars as pl

    check_fault_method(method)
    sorted_samples = samples.sort("sample_id")
    documents = sorted_samples["document_id"].to_list()
    conversations: list[list[dict[str, Any]]] = sorted_samples["messages"].to_list()
    generator = random.Random(seed)
    donors = list(range(len(conversations)))
    generator.shuffle(donors)
    # Samples are grouped by document, so a shift by the largest group reaches a different document.
    donors.sort(key=lambda index: documents[index])
    largest_group = max(documents.count(document) for document in set(documents))
    if len(conversations) < 2 * largest_group:
        raise TwinError(
            "give each question another document's answer",
            found=f"{largest_group} of {len(conversations)} samples are from one document",
            next_step="import more posts",
        )
    answer_sources = dict(zip(donors, donors[largest_group:] + donors[:largest_group], strict=True))
    mixed_messages = [
        [*conversation[:-1], conversations[answer_sources[index]][-1]]
        for index, conversation in enumerate(conversations)
    ]
    return sorted_samples.with_columns(
        pl.Series("messages", mixed_messages, dtype=sorted_samples.schema["messages"])
    )


def check_fault_method(method: str) -> None:
    """Require a known method of corruption.

    Raises:
        TwinError: the method is unknown.
    """
    if method != SHUFFLED_ANSWERS:
        raise TwinError(
            f"corrupt training data with {method!r}",
            found="an unknown method",
            next_step=f"set `spoil` to {SHUFFLED_ANSWERS}, or leave it empty",
        )
