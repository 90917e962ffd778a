"""The table `routing_labels`: the own and the paid model's answers to a prompt, with their scores.

Scope: its columns, ids, and reading it as arrays for the router, which asset and command
share. Out of scope: buying labels (`twin_assets/serving/labelling.py`), the router
(`router/`).

Besides the judges' claims, `scores` has the claim `AT_HAND`, which the gateway computes without a
judge. A row holds scores, features and ids, but no text. Erasure finds rows by `prompt_id` and
`reader`. A planted pair is a row too: the author's own answer stands for the paid model, and the
planted answer for the own model.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from twin_resources.quality.judges.judge import digest
from twin_resources.quality.judges.pairs import PLANT, differences
from twin_resources.router.features import Floats

TABLE = "routing_labels"
LABELS_VERSION = "labels-1"
OF_MODELS = ("paid", "own")
# Columns that identify a label: each combination is bought once.
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
    "plant": pl.String(),
}
SCORED = pl.Struct({"claim": pl.String(), "own": pl.Float64(), "paid": pl.Float64()})
COLUMNS: Mapping[str, pl.DataType] = {
    **IDENTITY_COLUMNS,
    "reader": pl.String(),
    "prompt_class": pl.String(),
    "length": pl.Int64(),
    "closeness": pl.Float64(),
    "vector": pl.List(pl.Float32()),
    "scores": pl.List(SCORED),
    "prompt_tokens": pl.Int64(),
    "answer_tokens": pl.Int64(),
    "usd": pl.Float64(),
}


@dataclass(frozen=True)
class LabelPurchase:
    """The models and settings that a set of labels belongs to.

    Attributes:
        own: checkpoint of the stable version.
        paid: LiteLLM name.
        embedder: revision of the embedder.
        judges: `name@revision` of every judge, in order.
        answers: hash of the other inputs of an answer (sampling, the author's settings).
    """

    own: str
    paid: str
    embedder: str
    judges: tuple[str, ...]
    answers: str

    @property
    def id(self) -> str:
        """12 hexadecimal digits."""
        return digest(LABELS_VERSION, self.own, self.paid, self.embedder, self.judges, self.answers)

    def row(self, sequence: int, source: str, prompt_id: str, plant: str = "") -> dict[str, object]:
        """The columns of `IDENTITY_COLUMNS` for one label."""
        return {
            "label_id": digest(self.id, source, prompt_id, plant),
            "sequence": sequence,
            "purchase": self.id,
            "own": self.own,
            "paid": self.paid,
            "embedder": self.embedder,
            "judges": list(self.judges),
            "source": source,
            "prompt_id": prompt_id,
            "plant": plant,
        }


@dataclass(frozen=True)
class LabelArrays:
    """The labels of one purchase in the order of their arrival, without plants; arrays of n.

    Attributes:
        label_ids: of the prompts (trace or sample).
        groups: what is left out together: the reader, else the prompt.
        gains: mean over the claims of dearer − own, shape (n, models − 1), prices rising.
        usd: what the paid answers cost, US dollars.
    """

    label_ids: tuple[str, ...]
    sequences: tuple[int, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    vectors: Floats
    lengths: tuple[int, ...]
    closeness: tuple[float, ...]
    gains: Floats
    usd: Floats
    prompt_tokens: Floats
    answer_tokens: Floats

    def __len__(self) -> int:
        return len(self.label_ids)


def arrays_of(rows: pl.DataFrame, purchase: str, claims: tuple[str, ...]) -> LabelArrays:
    """The labels of a purchase as the router takes them.

    Args:
        rows: of the table.
        claims: of the certified judges that decide; a label without all of them is left out.
    """
    mine = rows.filter((pl.col("purchase") == purchase) & (pl.col("source") != PLANT))
    pairs = [
        (row, gains)
        for row in mine.sort("sequence").iter_rows(named=True)
        if len(gains := differences(row, claims, OF_MODELS)) == len(claims) and claims
    ]
    rows_with_gains = [row for row, _ in pairs]
    return LabelArrays(
        label_ids=tuple(row["prompt_id"] for row in rows_with_gains),
        sequences=tuple(row["sequence"] for row in rows_with_gains),
        groups=tuple(row["reader"] or row["prompt_id"] for row in rows_with_gains),
        classes=tuple(row["prompt_class"] for row in rows_with_gains),
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


def counted(rows: pl.DataFrame, *, own: str, paid: str, embedder: str) -> tuple[int, int]:
    """Labels of these models, and further prompts that the paid model has answered for labels of
    another version: their labels cost nothing more (`labelling.py`)."""
    bought = rows.filter(pl.col("paid") == paid, pl.col("source") != PLANT)
    mine = bought.filter(pl.col("own") == own, pl.col("embedder") == embedder)
    others = set(bought["prompt_id"]) - set(mine["prompt_id"])
    return mine.height, len(others)


@dataclass(frozen=True)
class KeptAnswer:
    """What is known of a paid answer that was bought for labels of an earlier version.

    Attributes:
        scores: claim → what its judge said.
        prompt_tokens, answer_tokens, usd: as of `PaidAnswer`; nothing is paid again.
    """

    scores: Mapping[str, float]
    prompt_tokens: int
    answer_tokens: int
    usd: float


def kept_answers(
    rows: pl.DataFrame, purchase: LabelPurchase, claims: Sequence[str]
) -> dict[str, KeptAnswer]:
    """By prompt, the newest: same paid model, judges and settings; any version and embedder.

    The row holds what the judges said of the answer, so its text need not be kept, and forgetting
    finds it as it finds the row.
    """
    kept: dict[str, KeptAnswer] = {}
    alike = rows.filter(pl.col("paid") == purchase.paid, pl.col("source") != PLANT)
    for row in alike.sort("sequence").iter_rows(named=True):
        earlier = replace(purchase, own=row["own"], embedder=row["embedder"])
        scores = {str(score["claim"]): float(score["paid"]) for score in row["scores"]}
        if earlier.id == row["purchase"] and scores.keys() >= set(claims):
            kept[row["prompt_id"]] = KeptAnswer(
                scores, row["prompt_tokens"], row["answer_tokens"], row["usd"]
            )
    return kept


def no_rows() -> pl.DataFrame:
    """The table before its first label."""
    return pl.DataFrame(schema=dict(COLUMNS))
