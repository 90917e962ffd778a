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
from twin_resources.statistics.judges import has_lost_certificate
from twin_resources.statistics.promotion import PairedDifference

TABLE = "shadow_pairs"
RECORDED, HELD_OUT, PROBE = "recorded", "held_out", "plant"
VERSION_COLUMNS = ("candidate", "incumbent")
SCORE_TYPE = pl.Struct(
    {
        "claim": pl.String(),
        "judge": pl.String(),
        "candidate": pl.Float64(),
        "incumbent": pl.Float64(),
        "anchor": pl.Float64(),  # score of a third version, in rows of earlier releases
    }
)
# Columns that identify a row: each combination is computed once.
IDENTITY_COLUMNS: Mapping[str, pl.DataType] = {
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
COLUMNS: Mapping[str, pl.DataType] = {**IDENTITY_COLUMNS, "scores": pl.List(SCORE_TYPE)}


@dataclass(frozen=True)
class JudgedComparison:
    """The two checkpoints compared, and the judges.

    Attributes:
        judges: the `name@revision` of every judge, in order; a new revision starts a new trial.
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

    def row(
        self, sequence: int, source: str, prompt_id: str, probe_kind: str = ""
    ) -> dict[str, object]:
        """Return the columns of `IDENTITY_COLUMNS` for one pair."""
        return {
            "pair_id": digest(self.id, source, prompt_id, probe_kind),
            "sequence": sequence,
            "trial": self.id,
            "candidate": self.candidate,
            "incumbent": self.incumbent,
            "anchor": "",
            "source": source,
            "prompt_id": prompt_id,
            "plant": probe_kind,
        }


def trial_pairs(rows: pl.DataFrame, trial: str, claims: Sequence[str]) -> list[PairedDifference]:
    """Return the pairs of one trial by sequence, without plants.

    Args:
        rows: rows of the table.
        claims: the claims whose differences are returned.
    """
    selected = rows.filter((pl.col("trial") == trial) & (pl.col("source") != PROBE)).sort(
        "sequence"
    )
    return [
        PairedDifference(
            sequence=row["sequence"],
            differences=score_differences(row, claims),
        )
        for row in selected.iter_rows(named=True)
    ]


def score_differences(
    row: Mapping[str, object], claims: Sequence[str], columns: tuple[str, str] = VERSION_COLUMNS
) -> dict[str, float]:
    """Return claim → first − second score of a row, for the given claims."""
    scores: list[Mapping[str, object]] = row["scores"]  # pyright: ignore[reportAssignmentType]
    return {
        str(score["claim"]): float(score[columns[0]]) - float(score[columns[1]])  # pyright: ignore[reportArgumentType]
        for score in scores
        if score["claim"] in claims
    }


def probe_rows(rows: pl.DataFrame, **filters: str) -> pl.DataFrame:
    """Return the plants of one trial (`trial`) or one purchase (`purchase`), by sequence."""
    return rows.filter(pl.col("source") == PROBE, **filters).sort("sequence")


def probe_keys(probes: pl.DataFrame) -> set[tuple[str, str]]:
    """Return the (sample id, kind) of each plant."""
    return set(probes.select("prompt_id", "plant").iter_rows())


def lost_claims(
    probes: pl.DataFrame,
    claims: Sequence[str],
    *,
    margin: float,
    columns: tuple[str, str] = VERSION_COLUMNS,
) -> tuple[str, ...]:
    """Return claims whose judge no longer separates these plants from the author's own answers."""

    def own_score_differences(claim: str) -> list[float]:
        row_differences = (
            score_differences(row, [claim], columns) for row in probes.iter_rows(named=True)
        )
        return [one[claim] for one in row_differences if claim in one]

    return tuple(
        claim
        for claim in claims
        if has_lost_certificate(own_score_differences(claim), margin=margin)
    )
