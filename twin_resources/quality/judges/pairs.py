"""The table `shadow_pairs`: what judges said of two versions' answers to one prompt.

Scope: its columns, ids, and reading it as evidence (`statistics/promotion.py`), which the
asset and whoever decides a release share.
Out of scope: making pairs (`twin_assets/serving/shadowing.py`), the test.

A row holds no text: scores, ids and checkpoints. A planted pair is a row too, with the author's own
answer in place of the candidate's and the planted one in place of the incumbent's.
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
        "anchor": pl.Float64(),  # of a third version, in rows of former releases
    }
)
# What decides a row: it is computed once for these.
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
    """Which checkpoints are compared, by which judges.

    Attributes:
        judges: `name@revision` of every judge, in order; another revision is another trial.
        answers: hash of what else decides an answer (sampling, the author's settings).
    """

    candidate: str
    incumbent: str
    judges: tuple[str, ...]
    answers: str

    @property
    def id(self) -> str:
        """12 hexadecimal digits."""
        return digest(self.candidate, self.incumbent, "", self.judges, self.answers)

    def row(self, sequence: int, source: str, prompt_id: str, plant: str = "") -> dict[str, object]:
        """The columns of `ASKED` for one pair."""
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
    """The pairs of one trial in the order of their sequence, without plants.

    Args:
        rows: of the table.
        claims: which differences are wanted.
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
    """First − second of a row's scores, for the claims that are asked for."""
    scores: list[Mapping[str, object]] = row["scores"]  # pyright: ignore[reportAssignmentType]
    return {
        str(score["claim"]): float(score[of[0]]) - float(score[of[1]])  # pyright: ignore[reportArgumentType]
        for score in scores
        if score["claim"] in claims
    }


def plants_of(rows: pl.DataFrame, **what: str) -> pl.DataFrame:
    """The plants among one trial's batches (`trial`), or one purchase's (`purchase`), in order."""
    return rows.filter(pl.col("source") == PLANT, **what).sort("sequence")


def planted(plants: pl.DataFrame) -> set[tuple[str, str]]:
    """(Sample id, kind) of these plants."""
    return set(plants.select("prompt_id", "plant").iter_rows())


def lost_claims(
    plants: pl.DataFrame,
    claims: Sequence[str],
    *,
    margin: float,
    of: tuple[str, str] = OF_VERSIONS,
) -> tuple[str, ...]:
    """Claims whose judge no longer tells these plants from the author's own answers."""

    def own_above(claim: str) -> list[float]:
        found = (differences(row, [claim], of) for row in plants.iter_rows(named=True))
        return [one[claim] for one in found if claim in one]

    return tuple(claim for claim in claims if withdrawn(own_above(claim), margin=margin))
