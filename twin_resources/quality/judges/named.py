"""The model that a person names as the judge of single sentences; off by default.

Scope: its name from the settings, loading it.
Out of scope: how it judges (`entailment.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.quality.judges.entailment import EntailmentModel


@dataclass(frozen=True)
class NamedJudges:
    """What a person named.

    Attributes:
        entailment: folder or hub id of an entailment model; empty: none.
        folder: where a model of the hub is kept.
    """

    entailment: str = ""
    folder: Path = Path()

    def load_entailment(self) -> EntailmentModel:
        """Load the entailment model.

        Raises:
            TwinError: it cannot be had, or is none.
        """
        from twin_resources.quality.judges.entailment import EntailmentModel, entailment_folder

        folder = entailment_folder(self.entailment, into=self.folder)
        return EntailmentModel(folder, name=self.entailment)


NO_JUDGES = NamedJudges()


def named_judges(settings: Settings) -> NamedJudges:
    """That of a home."""
    return NamedJudges(settings.nli_model, settings.weights_dir / "entailment")
