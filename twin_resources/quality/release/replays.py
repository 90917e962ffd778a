"""Read shadow pairs for a trial.

Scope: reading the newest trial of the table `shadow_pairs` and its judges' certificates.
Out of scope: replaying prompts and judging answers (`twin_assets/serving/shadowing.py`),
the table's columns (`judges/pairs.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twin_resources.quality.judges import pairs as shadow_pairs
from twin_resources.quality.judges.panel import select_deciding_claims, vetoing_claims
from twin_resources.quality.judges.stored_results import CERTIFICATES, read_documents
from twin_resources.quality.release.trial import (
    TrialTerms,
    is_ungated,
    margin_for_incumbent,
)
from twin_resources.quality.release.trial_rows import CandidateOnTrial
from twin_resources.statistics.promotion import PairedDifference

if TYPE_CHECKING:
    from twin_resources.registry.registry import Registry
    from twin_resources.storage.tables.tables import Tables


@dataclass(frozen=True)
class Replays:
    """The replayed pairs of one candidate.

    Attributes:
        candidate, incumbent: the version numbers.
        terms: the claims, vetoes and judges. Without a certified judge, there are no claims.
        pairs: the pairs in order.
        is_exhausted: whether every prompt has been replayed.
        is_certified: whether every judge still distinguishes probes from the author's own answers.
    """

    candidate: int
    incumbent: int
    terms: TrialTerms
    pairs: tuple[PairedDifference, ...]
    is_exhausted: bool
    is_certified: bool

    def belongs_to(self, candidate: CandidateOnTrial) -> bool:
        """Return whether these pairs belong to the candidate's trial."""
        return (self.candidate, self.incumbent) == (candidate.version, candidate.incumbent)


def read_certified_judges(tables: Tables, author: str) -> dict[str, str]:
    """Map each claim that has a certified judge to that judge (`name@revision`)."""
    certificates = read_documents(tables, CERTIFICATES, author=author)
    return {
        claim: str(certificate["measure"])
        for claim, certificate in certificates.items()
        if certificate["certified"]
    }


def read_replays(
    tables: Tables,
    registry: Registry,
    author: str,
    *,
    used_up_trial: str,
    margin: float,
) -> Replays | None:
    """Return the pairs of the newest trial in the author's table, or None if there are none.

    Args:
        used_up_trial: the trial whose prompts have all been replayed (from the metadata of
            `shadow_pairs`).
        margin: ε of the judges' certificates, and of the trial (`margin_for_incumbent`).
    """
    if not tables.exists(shadow_pairs.TABLE, author):
        return None
    rows = tables.read(shadow_pairs.TABLE, author)
    if rows.is_empty():
        return None
    newest_row = rows.sort("sequence").row(-1, named=True)
    version_by_checkpoint = {version.checkpoint: version for version in registry.versions(author)}
    candidate = version_by_checkpoint.get(newest_row["candidate"])
    incumbent = version_by_checkpoint.get(newest_row["incumbent"])
    trial = str(newest_row["trial"])
    if candidate is None or incumbent is None:
        return None  # the registry was reset after the replay
    judge_by_claim = {str(score["claim"]): str(score["judge"]) for score in newest_row["scores"]}
    # A certificate for another revision does not apply to these scores.
    certified_claims = [
        claim
        for claim, judge in read_certified_judges(tables, author).items()
        if judge_by_claim.get(claim) == judge
    ]
    claims = select_deciding_claims(certified_claims)
    vetoes = tuple(claim for claim in certified_claims if claim in vetoing_claims())
    pairs = shadow_pairs.trial_pairs(rows, trial, [*claims, *vetoes])
    withdrawn_claims = shadow_pairs.withdrawn_claims(
        shadow_pairs.probe_rows(rows, trial=trial), (*claims, *vetoes), margin=margin
    )
    return Replays(
        candidate=candidate.version,
        incumbent=incumbent.version,
        terms=TrialTerms(
            claims,
            vetoes,
            judges=", ".join(judge_by_claim[claim] for claim in certified_claims),
            margin=margin_for_incumbent(incumbent, margin),
            is_incumbent_ungated=is_ungated(registry, incumbent),
        ),
        pairs=tuple(pairs),
        is_exhausted=used_up_trial == trial,
        is_certified=bool(claims) and not withdrawn_claims,
    )
