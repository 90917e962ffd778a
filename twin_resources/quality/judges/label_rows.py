"""Define the table `routing_labels`: the judges' scores for both models' answers to each prompt.

Scope: its columns and ids, and reading it as arrays for the router.
Out of scope: buying labels (`twin_assets/serving/labeling.py`), the router (`router/`).

Each row compares our own model's answer with the paid model's. It contains scores, features and
ids, but no text. Erasure finds rows by `prompt_id` and `reader`. A negative probe is a row too: the
author's answer replaces the paid model's, and the probe replaces our own model's.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from twin_resources.quality.judges.judge import digest
from twin_resources.quality.judges.pairs import PROBE, score_differences
from twin_resources.router.features import Floats

TABLE = "routing_labels"
LABELS_VERSION = "labels-1"
MODEL_COLUMNS = ("paid", "own")
# Columns that identify a label. Each combination is bought once.
IDENTITY_COLUMNS: Mapping[str, pl.DataType] = {
    "label_id": pl.String(),
    "sequence": pl.Int64(),
    "purchase": pl.String(),
    "own": pl.String(),
    "paid": pl.String(),
    "embedder": pl.String(),
    "judges": pl.List(pl.String()),
    "source": pl.String(),
    "prompt_id": pl.String(),
    "plant": pl.String(),  # the kind of a negative probe; empty in other rows
}
SCORE_TYPE = pl.Struct({"claim": pl.String(), "own": pl.Float64(), "paid": pl.Float64()})
COLUMNS: Mapping[str, pl.DataType] = {
    **IDENTITY_COLUMNS,
    "reader": pl.String(),
    "prompt_class": pl.String(),
    "length": pl.Int64(),
    "closeness": pl.Float64(),
    "vector": pl.List(pl.Float32()),
    "scores": pl.List(SCORE_TYPE),
    "prompt_tokens": pl.Int64(),
    "answer_tokens": pl.Int64(),
    "usd": pl.Float64(),
}


@dataclass(frozen=True)
class LabelPurchase:
    """The models and settings for which a set of labels was bought.

    Attributes:
        own: the checkpoint of the stable version.
        paid: the paid model's LiteLLM name.
        embedder: the embedder's revision.
        judges: the `name@revision` of every judge, in order.
        answers: the hash of an answer's other inputs (sampling, the author's settings).
    """

    own: str
    paid: str
    embedder: str
    judges: tuple[str, ...]
    answers: str

    @property
    def id(self) -> str:
        """The id of the purchase, a hash of 12 hexadecimal digits."""
        return digest(LABELS_VERSION, self.own, self.paid, self.embedder, self.judges, self.answers)

    def build_row(
        self, sequence: int, source: str, prompt_id: str, probe_kind: str = ""
    ) -> dict[str, object]:
        """Return the columns of `IDENTITY_COLUMNS` for one label."""
        return {
            "label_id": digest(self.id, source, prompt_id, probe_kind),
            "sequence": sequence,
            "purchase": self.id,
            "own": self.own,
            "paid": self.paid,
            "embedder": self.embedder,
            "judges": list(self.judges),
            "source": source,
            "prompt_id": prompt_id,
            "plant": probe_kind,
        }


@dataclass(frozen=True)
class LabelArrays:
    """The n labels of one purchase as arrays, in sequence order and without probes.

    Attributes:
        prompt_ids: the ids of the prompts (trace or sample).
        groups: the reader, or the prompt if no reader is known. Cross-validation leaves out whole
            groups.
        gains: the paid score minus our own, averaged over the claims; shape (n, models − 1), in
            order of increasing price.
        usd: the costs of the paid answers in US dollars.
    """

    prompt_ids: tuple[str, ...]
    sequences: tuple[int, ...]
    groups: tuple[str, ...]
    prompt_classes: tuple[str, ...]
    vectors: Floats
    lengths: tuple[int, ...]
    closeness: tuple[float, ...]
    gains: Floats
    usd: Floats
    prompt_tokens: Floats
    answer_tokens: Floats

    def __len__(self) -> int:
        return len(self.prompt_ids)


def build_label_arrays(rows: pl.DataFrame, purchase: str, claims: tuple[str, ...]) -> LabelArrays:
    """Return the labels of a purchase as arrays for the router.

    Args:
        rows: rows of the table.
        claims: the claims of the deciding judges; a label without a score for each is omitted.
    """
    purchase_rows = rows.filter((pl.col("purchase") == purchase) & (pl.col("source") != PROBE))
    pairs = [
        (row, gains)
        for row in purchase_rows.sort("sequence").iter_rows(named=True)
        if len(gains := score_differences(row, claims, MODEL_COLUMNS)) == len(claims) and claims
    ]
    rows_with_gains = [row for row, _ in pairs]
    return LabelArrays(
        prompt_ids=tuple(row["prompt_id"] for row in rows_with_gains),
        sequences=tuple(row["sequence"] for row in rows_with_gains),
        groups=tuple(row["reader"] or row["prompt_id"] for row in rows_with_gains),
        prompt_classes=tuple(row["prompt_class"] for row in rows_with_gains),
        vectors=np.asarray([row["vector"] for row in rows_with_gains], np.float64).reshape(
            len(rows_with_gains), len(rows_with_gains[0]["vector"]) if rows_with_gains else 0
        ),
        lengths=tuple(row["length"] for row in rows_with_gains),
        closeness=tuple(row["closeness"] for row in rows_with_gains),
        gains=np.asarray(
            [[sum(gains.values()) / len(gains)] for _, gains in pairs], np.float64
        ).reshape(len(rows_with_gains), 1),
        usd=np.asarray([row["usd"] for row in rows_with_gains], np.float64),
        prompt_tokens=np.asarray([row["prompt_tokens"] for row in rows_with_gains], np.float64),
        answer_tokens=np.asarray([row["answer_tokens"] for row in rows_with_gains], np.float64),
    )


def count_labels(rows: pl.DataFrame, *, own: str, paid: str, embedder: str) -> tuple[int, int]:
    """Count the labels for these models, and the other prompts that the paid model has answered.

    Those answers were bought for other versions, so their labels cost nothing (`labeling.py`).
    """
    paid_rows = rows.filter(pl.col("paid") == paid, pl.col("source") != PROBE)
    own_rows = paid_rows.filter(pl.col("own") == own, pl.col("embedder") == embedder)
    other_prompts = set(paid_rows["prompt_id"]) - set(own_rows["prompt_id"])
    return own_rows.height, len(other_prompts)


@dataclass(frozen=True)
class ReusableAnswer:
    """The scores and cost of a paid answer that was bought for an earlier version's labels.

    Attributes:
        scores: claim → the judge's score.
        prompt_tokens, answer_tokens, usd: as in `Completion`; the answer is not paid for again.
    """

    scores: Mapping[str, float]
    prompt_tokens: int
    answer_tokens: int
    usd: float


def find_reusable_answers(
    rows: pl.DataFrame, purchase: LabelPurchase, claims: Sequence[str]
) -> dict[str, ReusableAnswer]:
    """Return prompt → the newest answer with the same paid model, judges and settings.

    The version and the embedder may differ. The row contains the answer's scores, so the answer's
    text need not be stored. Erasing the row erases the scores.
    """
    answers_by_prompt: dict[str, ReusableAnswer] = {}
    same_model_rows = rows.filter(pl.col("paid") == purchase.paid, pl.col("source") != PROBE)
    for row in same_model_rows.sort("sequence").iter_rows(named=True):
        earlier_purchase = replace(purchase, own=row["own"], embedder=row["embedder"])
        scores = {str(score["claim"]): float(score["paid"]) for score in row["scores"]}
        if earlier_purchase.id == row["purchase"] and scores.keys() >= set(claims):
            answers_by_prompt[row["prompt_id"]] = ReusableAnswer(
                scores, row["prompt_tokens"], row["answer_tokens"], row["usd"]
            )
    return answers_by_prompt


def create_empty_table() -> pl.DataFrame:
    """Return an empty table with these columns."""
    return pl.DataFrame(schema=dict(COLUMNS))
