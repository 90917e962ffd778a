"""Define the table `shadow_pairs`: judges' scores of two versions' answers to one prompt.

Scope: its columns and ids, and reading it as evidence (`statistics/promotion.py`), for the asset
and for the release decision.
Out of scope: creating pairs (`twin_assets/serving/shadowing.py`), the test.

A row contains scores, ids and checkpoints, but no text. A negative probe is a row too: the author's
own answer replaces the candidate's answer, and the probe replaces the incumbent's.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from twin_resources.quality.judges.judge import digest
from twin_resources.statistics.judge_certification import has_lost_certificate
from twin_resources.statistics.promotion import PairedDifference

TABLE = "shadow_pairs"
RECORDED, HELD_OUT, PROBE = "recorded", "held_out", "plant"  # values of `source`
VERSION_COLUMNS = ("candidate", "incumbent")
SCORE_TYPE = pl.Struct(
    {
        "claim": pl.String(),
        "judge": pl.String(),
        "candidate": pl.Float64(),
        "incumbent": pl.Float64(),
    }
)
# Columns that identify a row. Each combination is computed once.
IDENTITY_COLUMNS: Mapping[str, pl.DataType] = {
    "pair_id": pl.String(),
    "sequence": pl.Int64(),
    "trial": pl.String(),
    "candidate": pl.String(),
    "incumbent": pl.String(),
    "source": pl.String(),
    "prompt_id": pl.String(),
    "plant": pl.String(),  # the kind of a negative probe; empty in other rows
}
COLUMNS: Mapping[str, pl.DataType] = {**IDENTITY_COLUMNS, "scores": pl.List(SCORE_TYPE)}


@dataclass(frozen=True)
class JudgedComparison:
    """The two compared checkpoints and the judges.

    Attributes:
        judges: the `name@revision` of every judge, in order. A new revision starts a new trial.
        answers: the hash of an answer's other inputs (sampling, the author's settings).
    """

    candidate: str
    incumbent: str
    judges: tuple[str, ...]
    answers: str

    @property
    def id(self) -> str:
        """The id of the trial, a hash of 12 hexadecimal digits."""
        return digest(self.candidate, self.incumbent, "", self.judges, self.answers)

    def build_row(
        self, sequence: int, source: str, prompt_id: str, probe_kind: str = ""
    ) -> dict[str, object]:
        """Return the columns of `IDENTITY_COLUMNS` for one pair."""
        return {
            "pair_id": digest(self.id, source, prompt_id, probe_kind),
            "sequence": sequence,
            "trial": self.id,
            "candidate": self.candidate,
            "incumbent": self.incumbent,
            "source": source,
            "prompt_id": prompt_id,
            "plant": probe_kind,
        }


def trial_pairs(rows: pl.DataFrame, trial: str, claims: Sequence[str]) -> list[PairedDifference]:
    """Return the pairs of one trial in sequence order, without probes.

    Args:
        rows: rows of the table.
        claims: the claims whose differences are returned.
    """
    trial_rows = rows.filter((pl.col("trial") == trial) & (pl.col("source") != PROBE)).sort(
        "sequence"
    )
    return [
        PairedDifference(
            sequence=row["sequence"],
            differences=score_differences(row, claims),
        )
        for row in trial_rows.iter_rows(named=True)
    ]


def score_differences(
    row: Mapping[str, object], claims: Sequence[str], columns: tuple[str, str] = VERSION_COLUMNS
) -> dict[str, float]:
    """Return claim → (first score − second score) of a row, for the given claims."""
    scores: list[Mapping[str, object]] = row["scores"]  # pyright: ignore[reportAssignmentType]
    return {
        str(score["claim"]): float(score[columns[0]]) - float(score[columns[1]])  # pyright: ignore[reportArgumentType]
        for score in scores
        if score["claim"] in claims
    }


def probe_rows(rows: pl.DataFrame, **filters: str) -> pl.DataFrame:
    """Return the probes of one trial (`trial`) or one purchase (`purchase`), in sequence order."""
    return rows.filter(pl.col("source") == PROBE, **filters).sort("sequence")


def probe_keys(probes: pl.DataFrame) -> set[tuple[str, str]]:
    """Return the (sample id, kind) of each probe."""
    return set(probes.select("prompt_id", "plant").iter_rows())


def withdrawn_claims(
    probes: pl.DataFrame,
    claims: Sequence[str],
    *,
    margin: float,
    columns: tuple[str, str] = VERSION_COLUMNS,
) -> tuple[str, ...]:
    """Return the claims whose judge no longer separates these probes from the author's answers."""

    def differences_of_claim(claim: str) -> list[float]:
        differences_by_row = (
            score_differences(row, [claim], columns) for row in probes.iter_rows(named=True)
        )
        return [differences[claim] for differences in differences_by_row if claim in differences]

    return tuple(
        claim
        for claim in claims
        if has_lost_certificate(differences_of_claim(claim), margin=margin)
    )
