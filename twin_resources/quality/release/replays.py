"""Shadow pairs as a trial uses them.

Scope: reading the newest trial of the table `shadow_pairs` and its judges' certificates.
Out of scope: replaying prompts and judging answers (`twin_assets/serving/shadowing.py`),
the table's columns (`judges/pairs.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_resources.quality.judges import pairs as table
from twin_resources.quality.judges.panel import deciding, vetoing
from twin_resources.quality.judges.stored import CERTIFICATE_TABLE
from twin_resources.quality.release.trial import (
    TrialState,
    TrialTerms,
    margin_against,
    passed_no_gate,
)
from twin_resources.quality.release.trial_rows import CandidateOnTrial
from twin_resources.statistics.baseline import MARGIN
from twin_resources.statistics.promotion import PairedDifference

if TYPE_CHECKING:
    from twin_resources.registry.registry import Registry
    from twin_resources.storage.tables.tables import Tables


@dataclass(frozen=True)
class Replays:
    """What was replayed for one candidate.

    Attributes:
        candidate, incumbent: versions.
        terms: claims, vetoes and judges; without a certified judge there are no claims.
        pairs: in order.
        exhausted: every prompt has been replayed.
        certified: whether every judge still tells plants from the author's own answers.
    """

    candidate: int
    incumbent: int
    terms: TrialTerms
    pairs: tuple[PairedDifference, ...]
    exhausted: bool
    certified: bool

    def about(self, on: CandidateOnTrial) -> bool:
        """Whether these are pairs of that trial."""
        return (self.candidate, self.incumbent) == (on.version, on.incumbent)

    def standing(self) -> TrialState:
        """What a fold of them is told."""
        return TrialState(exhausted=self.exhausted, certified=self.certified)


def certified_claims(tables: Tables, author: str) -> dict[str, str]:
    """Claim → measure (`name@revision`) that is certified for it; empty: nobody may decide."""
    if not tables.exists(CERTIFICATE_TABLE, author):
        return {}
    rows = tables.read(CERTIFICATE_TABLE, author, columns=["name", "document"])
    claims: dict[str, str] = {}
    for claim, document in rows.iter_rows():
        certificate: Mapping[str, Any] = json.loads(document)
        if certificate["certified"]:
            claims[str(claim)] = str(certificate["measure"])
    return claims


def read_replays(
    tables: Tables,
    registry: Registry,
    author: str,
    *,
    used_up: str = "",
    margin: float = MARGIN,
) -> Replays | None:
    """The newest trial in the author's table; None: nothing was replayed yet.

    Args:
        used_up: the trial of which every prompt has been replayed (metadata of `shadow_pairs`).
        margin: ε of the judges' certificates, and of the trial (`margin_against`).
    """
    if not tables.exists(table.TABLE, author):
        return None
    rows = tables.read(table.TABLE, author)
    if rows.is_empty():
        return None
    newest = rows.sort("sequence").row(-1, named=True)
    known = {item.checkpoint: item for item in registry.versions(author)}
    versions = {checkpoint: item.version for checkpoint, item in known.items()}
    trial = str(newest["trial"])
    if not {newest["candidate"], newest["incumbent"]} <= versions.keys():
        return None  # of a registry that was emptied since
    scored_by = _judges(rows.filter(pl.col("trial") == trial))
    # A certificate of another revision says nothing about these scores.
    held = [
        claim
        for claim, measure in certified_claims(tables, author).items()
        if scored_by.get(claim) == measure
    ]
    claims = deciding(held)
    vetoes = tuple(claim for claim in held if claim in vetoing())
    pairs = table.pairs_of(rows, trial, [*claims, *vetoes])
    lost = table.lost_claims(table.plants_of(rows, trial=trial), (*claims, *vetoes), margin=margin)
    return Replays(
        candidate=versions[newest["candidate"]],
        incumbent=versions[newest["incumbent"]],
        terms=TrialTerms(
            claims,
            vetoes,
            judges=", ".join(scored_by[name] for name in held),
            margin=margin_against(known[newest["incumbent"]], margin),
            forced=passed_no_gate(registry, known[newest["incumbent"]]),
        ),
        pairs=tuple(pairs),
        exhausted=used_up == trial,
        certified=bool(claims) and not lost,
    )


def _judges(rows: pl.DataFrame) -> dict[str, str]:
    """Claim → measure that scored the newest row."""
    newest = rows.sort("sequence").row(-1, named=True)
    return {str(score["claim"]): str(score["judge"]) for score in newest["scores"]}
