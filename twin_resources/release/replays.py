"""Shadow pairs as a trial uses them.

Belongs here: the value that the asset `shadow_pairs` hands to a release, and whether it is about
the version that is on trial.
Does not belong here: replaying prompts and judging answers (`twin_assets/serving/shadow_pairs.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

from twin_resources.evidence.promotion import Pair
from twin_resources.release.trial import Standing, Terms
from twin_resources.release.trial_rows import OnTrial


@dataclass(frozen=True)
class Replays:
    """What was replayed for one candidate.

    Attributes:
        candidate, incumbent: versions. anchor: None when it is the incumbent, or there is none.
        terms: claims, vetoes and judges.
        pairs: in order.
        prompts: that can be replayed; when all are, the trial is over.
        certified: whether every judge still has its certificate.
        spread: standard deviation of d over the pairs.
    """

    candidate: int
    incumbent: int
    anchor: int | None
    terms: Terms
    pairs: tuple[Pair, ...]
    prompts: int
    certified: bool
    spread: float = 0.57

    def about(self, on: OnTrial) -> bool:
        """Whether these are pairs of that trial."""
        return (self.candidate, self.incumbent, self.anchor) == (
            on.version,
            on.incumbent,
            on.anchor,
        )

    def standing(self) -> Standing:
        """What a fold of them is told."""
        return Standing(
            exhausted=len(self.pairs) >= self.prompts,
            certified=self.certified,
            spread=self.spread,
        )
