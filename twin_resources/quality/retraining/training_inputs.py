"""Define access to the inputs of past and future training runs.

Scope: the protocol.
Out of scope: its implementation (`twin_assets/training`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twin_resources.registry.moves import ModelVersion
from twin_resources.statistics.retraining import TrainingFingerprint


@dataclass(frozen=True)
class CorpusGrowth:
    """The numbers of posts and pairs added since the stable version was trained."""

    new_posts: int
    new_pairs: int


class TrainingInputs(Protocol):
    """Reads the dataset and recipe of an author's training runs from tables and manifests."""

    def read_current(self, author: str) -> TrainingFingerprint:
        """Return the inputs of a training run started now, including posts not yet in a dataset.

        Raises:
            TwinError: the tables or the recipe cannot be read.
        """
        ...

    def read_for_version(self, version: ModelVersion) -> TrainingFingerprint | None:
        """Return the inputs of this version's training run, or None if its manifest is missing.

        Raises:
            TwinError: a newer version of this code wrote the manifest.
        """
        ...

    def measure_growth(self, version: ModelVersion) -> CorpusGrowth:
        """Return the growth since this version's training run.

        Raises:
            TwinError: the tables cannot be read.
        """
        ...
