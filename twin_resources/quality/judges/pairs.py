"""Defines the table `shadow_pairs`: judges' scores of two versions' answers to one prompt.

Scope: its columns, ids, and reading it as evidence (`statistics/promotion.py`), shared by the
asset and the code that decides a release.
Out of scope: creating pairs (`twin_assets/serving/shadowing.py`), the test.

A row contains scores, ids and checkpoints, but no text. A planted pair is a row too: the author's
own answer replaces the candidate's answer, and the planted answer replaces the incumbent's.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from twin_resources.quality.judges.judge import digest
from twin_resources.statistics.judges import withdrawn
from twin_resources.statistics.promotion import PairedDifference

TABLE = "shadow_pairs"
RECORDED, HELD_OUT, PLANT = "recorded", "held_out", "plant"
OF_VERSIONS = ("candidate", "incumbent")
SCORED = pl.Struct(
    {
        "claim": pl.String(),
        "judge": pl.String(),
        "candidate": pl.Float64(),
        "incumbent": pl.Float64(),
        "anchor": pl.Float64(),  # score of a third version, in rows of earlier releases
    }
)
# Columns that identify a row: each combination is computed once.
ASKED: Mapping[str, pl.DataType] = {
    "pair_id": pl.String(),
    "sequence": pl.Int64(),
    "trial": pl.String(),
    "candidate": pl.String(),
    "incumbent": pl.String(),
    "anchor": pl.String(),
    "source": pl.String(),
    "prompt_id": pl.String(),
    "plant": pl.String(),
}
COLUMNS: Mapping[str, pl.DataType] = {**ASKED, "scores": pl.List(SCORED)}


@dataclass(frozen=True)
class JudgedComparison:
    """The two checkpoints compared, and the judges.

    Attributes:
        judges: the `name@revision` of every judge, in order; another revision is another trial.
        answers: the hash of the other inputs of an answer (sampling, the author's settings).
    """

    candidate: str
    incumbent: str
    judges: tuple[str, ...]
    answers: str

    @property
    def id(self) -> str:
        """Hash of 12 hexadecimal digits."""
        return digest(self.candidate, self.incumbent, "", self.judges, self.answers)

    def row(self, sequence: int, source: str, prompt_id: str, plant: str = "") -> dict[str, object]:
        """Return the columns of `ASKED` for one pair."""
        return {
            "pair_id": digest(self.id, source, prompt_id, plant),
            "sequence": sequence,
            "trial": self.id,
            "candidate": self.candidate,
            "incumbent": self.incumbent,
            "anchor": "",
            "source": source,
            "prompt_id": prompt_id,
            "plant": plant,
        }


def pairs_of(rows: pl.DataFrame, trial: str, claims: Sequence[str]) -> list[PairedDifference]:
    """Return the pairs of one trial by sequence, without plants.

    Args:
        rows: rows of the table.
        claims: the claims whose differences are returned.
    """
    chosen = rows.filter((pl.col("trial") == trial) & (pl.col("source") != PLANT)).sort("sequence")
    return [
        PairedDifference(
            sequence=row["sequence"],
            incumbent=differences(row, claims),
        )
        for row in chosen.iter_rows(named=True)
    ]


def differences(
    row: Mapping[str, object], claims: Sequence[str], of: tuple[str, str] = OF_VERSIONS
) -> dict[str, float]:
    """Return claim → first − second score of a row, for the given claims."""
    scores: list[Mapping[str, object]] = row["scores"]  # pyright: ignore[reportAssignmentType]
    return {
        str(score["claim"]): float(score[of[0]]) - float(score[of[1]])  # pyright: ignore[reportArgumentType]
        for score in scores
        if score["claim"] in claims
    }


def plants_of(rows: pl.DataFrame, **what: str) -> pl.DataFrame:
    """Return the plants of one trial (`trial`) or one purchase (`purchase`), by sequence."""
    return rows.filter(pl.col("source") == PLANT, **what).sort("sequence")


def planted(plants: pl.DataFrame) -> set[tuple[str, str]]:
    """Return the (sample id, kind) of each plant."""
    return set(plants.select("prompt_id", "plant").iter_rows())


def lost_claims(
    plants: pl.DataFrame,
    claims: Sequence[str],
    *,
    margin: float,
    of: tuple[str, str] = OF_VERSIONS,
) -> tuple[str, ...]:
    """Return claims whose judge no longer separates these plants from the author's own answers."""

    def own_above(claim: str) -> list[float]:
        found = (differences(row, [claim], of) for row in plants.iter_rows(named=True))
        return [one[claim] for one in found if claim in one]

    return tuple(claim for claim in claims if withdrawn(own_above(claim), margin=margin))
