"""The models that a person names as judges of answers; all off by default.

Belongs here: their names from the settings, loading entailment model and encoder.
Does not belong here: how they judge (`asking.py`, `entailment.py`,
`style_encoder.py`).
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
    from twin_resources.quality.judges.style_encoder import StyleEncoder
    from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class NamedJudges:
    """What a person named.

    Attributes:
        language_model: a LiteLLM model name that rates answers blind; empty: none.
        terms: its budget, and what it is shown.
        entailment: folder or hub id of an entailment model; empty: none.
        folder: where a model of the hub is kept.
        style: folder or hub id of a style encoder; empty: none; `style_into`: where one of the hub
            is kept.
    """

    language_model: str = ""
    terms: JudgeTerms = FREE
    entailment: str = ""
    folder: Path = Path()
    style: str = ""
    style_into: Path = Path()

    def load_entailment(self) -> EntailmentModel:
        """Load the entailment model.

        Raises:
            TwinError: it cannot be had, or is none.
        """
        from twin_resources.quality.judges.entailment import EntailmentModel, entailment_folder

        folder = entailment_folder(self.entailment, into=self.folder)
        return EntailmentModel(folder, name=self.entailment)

    def load_style(self) -> StyleEncoder:
        """Load the style encoder.

        Raises:
            TwinError: it cannot be had, or is none.
        """
        from twin_resources.quality.judges.style_encoder import StyleEncoder, style_folder

        return StyleEncoder(style_folder(self.style, into=self.style_into), name=self.style)


NO_JUDGES = NamedJudges()


def named_judges(settings: Settings, author: Author, state: State) -> NamedJudges:
    """Those of a home, for one author."""
    return NamedJudges(
        settings.judge_model,
        terms_of(settings, author, state),
        settings.nli_model,
        settings.weights_dir / "entailment",
        settings.style_model,
        settings.weights_dir / "style",
    )
