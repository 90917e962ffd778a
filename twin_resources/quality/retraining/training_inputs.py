"""What a training would use, and what it used: asked of whoever can train.

Scope: the protocol. Out of scope: its answer (`twin_assets/training`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twin_resources.registry.moves import ModelVersion
from twin_resources.statistics.retraining import TrainingFingerprint


@dataclass(frozen=True)
class CorpusGrowth:
    """What there is that the stable version was not trained on."""

    new_posts: int
    new_pairs: int


class TrainingInputs(Protocol):
    """Dataset and recipe of an author's trainings; reads tables and manifests, trains nothing."""

    def now(self, author: str) -> TrainingFingerprint:
        """As a training would use them now, posts that no dataset holds yet included.

        Raises:
            TwinError: the tables or the recipe cannot be read.
        """
        ...

    def of(self, version: ModelVersion) -> TrainingFingerprint | None:
        """As this version was trained; None: its manifest is gone.

        Raises:
            TwinError: the manifest is of a newer version of this code.
        """
        ...

    def growth(self, version: ModelVersion) -> CorpusGrowth:
        """What came since this version's training.

        Raises:
            TwinError: the tables cannot be read.
        """
        ...
