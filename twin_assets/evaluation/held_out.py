"""Which held-out passages a checkpoint is measured on.

Belongs here: choosing them from the instruction dataset, the same ones for every model compared.
Does not belong here: drawing the splits (`instructions/splits.py`), measuring (`perplexity.py`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import polars as pl

from twin_assets.training.samples import TokenizedSample

FEWEST = 30  # fewer passages than this decide nothing
MOST = 120
TOKEN_BUDGET = 30_000  # per model; about 20 s for 135M on two cores


def held_out_samples(dataset: pl.DataFrame, *, trained_on: Collection[str]) -> pl.DataFrame:
    """Held-out samples of documents that no compared model was trained on, one a passage.

    Args:
        dataset: rows of `instruction_dataset`.
        trained_on: document ids of the training sets of candidate and incumbent.

    Returns:
        Rows in an order that follows from their ids alone, so that two runs choose the same ones.
    """
    passages = (
        dataset.filter(
            (pl.col("split") == "held_out") & ~pl.col("document_id").is_in(list(trained_on))
        )
        .sort("sample_id")
        .unique(["document_id", "start", "end"], keep="first", maintain_order=True)
    )
    return in_drawn_order(passages)


def in_drawn_order(samples: pl.DataFrame) -> pl.DataFrame:
    """Rows in the order of the hashes of their `sample_id`."""
    lots = [_lot(sample_id) for sample_id in samples["sample_id"].to_list()]
    return samples.with_columns(pl.Series("_lot", lots, dtype=pl.String)).sort("_lot").drop("_lot")


def within_budget(
    samples: Sequence[TokenizedSample],
    *,
    fewest: int = FEWEST,
    most: int = MOST,
    token_budget: int = TOKEN_BUDGET,
) -> list[TokenizedSample]:
    """The first samples up to a budget of tokens; at least `fewest`, as far as there are."""
    chosen: list[TokenizedSample] = []
    tokens = 0
    for sample in samples[:most]:
        tokens += len(sample.tokens)
        if len(chosen) >= fewest and tokens > token_budget:
            break
        chosen.append(sample)
    return chosen


def prompts_of(samples: pl.DataFrame, *, count: int, drawn: int) -> list[list[Any]]:
    """Messages without their answers, to ask a server with.

    Args:
        samples: in the order of preference.
        count: how many prompts, as far as there are.
        drawn: so many come in the given order, whatever their length; the shortest ones fill up:
            llama.cpp reads about 170 tokens a second on one core, 20 long prompts take two minutes.
    """
    prompts: list[list[Any]] = [messages[:-1] for messages in samples["messages"].to_list()]
    rest = sorted(prompts[drawn:], key=_characters)
    return [*prompts[:drawn], *rest][:count]


def _characters(prompt: Sequence[dict[str, str]]) -> int:
    return sum(len(message["content"]) for message in prompt)


def _lot(sample_id: str) -> str:
    return hashlib.sha256(f"held-out/{sample_id}".encode()).hexdigest()
