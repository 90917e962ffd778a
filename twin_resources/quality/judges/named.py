"""The models that a person names as judges of answers; both off by default.

Belongs here: their names from the settings, loading the entailment model.
Does not belong here: how they judge (`asking.py`, `entailment.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twin_resources.quality.judges.terms import FREE, JudgeTerms, terms_of
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.quality.judges.entailment import EntailmentModel
    from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class NamedJudges:
    """What a person named.

    Attributes:
        language_model: a LiteLLM model name that rates answers blind; empty: none.
        terms: its budget, and what it is shown.
        entailment: folder or hub id of an entailment model; empty: none.
        folder: where a model of the hub is kept.
    """

    language_model: str = ""
    terms: JudgeTerms = FREE
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


def named_judges(settings: Settings, author: Author, state: State) -> NamedJudges:
    """Those of a home, for one author."""
    return NamedJudges(
        settings.judge_model,
        terms_of(settings, author, state),
        settings.nli_model,
        settings.weights_dir / "entailment",
    )
