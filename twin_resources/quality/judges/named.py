"""Loads the model that a person names as the judge of single sentences; off by default.

Scope: reading its name from the settings, loading it.
Out of scope: scoring (`entailment.py`).
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
    """The judge model that a person named.

    Attributes:
        entailment: the folder or hub id of an entailment model; empty if there is none.
        folder: the folder for models from the hub.
    """

    entailment: str = ""
    folder: Path = Path()

    def load_entailment(self) -> EntailmentModel:
        """Load the entailment model.

        Raises:
            TwinError: the model is not available, or is not an entailment model.
        """
        from twin_resources.quality.judges.entailment import EntailmentModel, entailment_folder

        folder = entailment_folder(self.entailment, into=self.folder)
        return EntailmentModel(folder, name=self.entailment)


NO_JUDGES = NamedJudges()


def named_judges(settings: Settings) -> NamedJudges:
    """Return the judge model that a home's settings name."""
    return NamedJudges(settings.nli_model, settings.weights_dir / "entailment")
