"""Choose the held-out passages to measure a checkpoint on.

Scope: choosing the same passages from the instruction dataset for every compared model.
Out of scope: drawing the splits (`instructions/splits.py`) and measuring (`perplexity.py`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import polars as pl

from twin_assets.checkpoints.samples import TokenizedSample
from twin_resources.prompt.templates import Template
from twin_resources.quality.judges.judge_kind import TopicPair

MIN_HELD_OUT_PASSAGES = 30  # with fewer passages, nothing is decided
MAX_HELD_OUT_PASSAGES = 120


def select_held_out_samples(dataset: pl.DataFrame, *, trained_on: Collection[str]) -> pl.DataFrame:
    """Return held-out samples of documents that no compared model was trained on, one per passage.

    Args:
        dataset: rows of `instruction_dataset`.
        trained_on: document ids of the training sets of candidate and incumbent.

    Returns:
        Rows in an order that depends only on their ids, so that two runs choose the same rows.
    """
    passages = (
        dataset.filter(
            (pl.col("split") == "held_out") & ~pl.col("document_id").is_in(list(trained_on))
        )
        .sort("sample_id")
        .unique(["document_id", "start", "end"], keep="first", maintain_order=True)
    )
    return shuffle_by_hash(passages)


def shuffle_by_hash(samples: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in a pseudorandom order that depends only on each `sample_id`."""
    shuffle_keys = [_shuffle_key(sample_id) for sample_id in samples["sample_id"].to_list()]
    return (
        samples.with_columns(pl.Series("_shuffle_key", shuffle_keys, dtype=pl.String))
        .sort("_shuffle_key")
        .drop("_shuffle_key")
    )


def select_within_budget(
    samples: Sequence[TokenizedSample], *, token_budget: int
) -> list[TokenizedSample]:
    """Return the first samples within a token budget.

    If available, `MIN_HELD_OUT_PASSAGES` are returned even if they exceed the budget.
    """
    chosen_samples: list[TokenizedSample] = []
    token_count = 0
    for sample in samples[:MAX_HELD_OUT_PASSAGES]:
        token_count += len(sample.tokens)
        if len(chosen_samples) >= MIN_HELD_OUT_PASSAGES and token_count > token_budget:
            break
        chosen_samples.append(sample)
    return chosen_samples


def build_prompts(samples: pl.DataFrame) -> list[list[Any]]:
    """Return messages without their answers, as prompts for a server."""
    return [messages[:-1] for messages in samples["messages"].to_list()]


def render_bare_questions(samples: pl.DataFrame, template: Template) -> list[list[Any]]:
    """Return the prompts as the template renders a question without passages.

    llama.cpp reads about 170 tokens a second on one core. 30 prompts take a minute and a half with
    passages, and 12 s without them.
    """
    return [
        [
            *messages[:-2],
            {"role": "user", "content": template.bare_question.format(question=question.strip())},
        ]
        for messages, question in samples.select("messages", "question").iter_rows()
    ]


def select_training_pairs(dataset: pl.DataFrame) -> list[TopicPair]:
    """Return the questions and answers of the training split, ordered by hash."""
    training_rows = shuffle_by_hash(dataset.filter(pl.col("split") == "train"))
    return [
        TopicPair(*row)
        for row in training_rows.select("question", "answer", "document_id").iter_rows()
    ]


def _shuffle_key(sample_id: str) -> str:
    return hashlib.sha256(f"held-out/{sample_id}".encode()).hexdigest()
