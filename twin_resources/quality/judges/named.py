"""Load the configured judge of single sentences. It is off by default.

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
class EntailmentSettings:
    """The configured judge model.

    Attributes:
        model: the folder or hub id of an entailment model; empty if there is none.
        download_folder: the folder for models from the hub.
    """

    model: str = ""
    download_folder: Path = Path()

    def load_entailment(self) -> EntailmentModel:
        """Load the entailment model.

        Raises:
            TwinError: the model is not available, or is not an entailment model.
        """
        from twin_resources.quality.judges.entailment import (
            EntailmentModel,
            resolve_entailment_folder,
        )

        folder = resolve_entailment_folder(self.model, download_folder=self.download_folder)
        return EntailmentModel(folder, name=self.model)


NO_ENTAILMENT_MODEL = EntailmentSettings()


def entailment_settings(settings: Settings) -> EntailmentSettings:
    """Return the judge model configured in a home's settings."""
    return EntailmentSettings(settings.nli_model, settings.weights_dir / "entailment")
