"""The forms of the gate benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from tests.bench.training import forms as training_forms

ALL_POSTS = {"skeeto": 461, "jbranchaud-til": 1871, "mara-lindqvist": 40}


@dataclass(frozen=True)
class Form:
    """The amount of work of a run.

    Attributes:
        name: of the folders in `build/`.
        training: the size of the training benchmark that gives dataset and model.
        tokens: to train on.
        whole_model: train every weight, because adapters on random weights learn hardly anything.
        minutes: goal for training and evaluation.
        ratio: goal for the perplexity of the tuned / the base model.
        changes: `KEY=VALUE` changes to the recipe.
    """

    name: str
    training: training_forms.BenchmarkSize
    tokens: int
    whole_model: bool
    minutes: float
    ratio: float
    changes: tuple[str, ...] = ()

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe's differences from the default recipe."""
        pairs = (change.partition("=") for change in self.changes)
        return {key: yaml.safe_load(value) for key, _, value in pairs}

    @property
    def posts(self) -> int:
        """The number of the author's posts."""
        return self.training.post_count or ALL_POSTS[self.author]

    @property
    def author(self) -> str:
        """The author's slug."""
        return self.training.author

    def of(self, author: str, changes: Sequence[str] = ()) -> Form:
        """Return this form for another author and another recipe."""
        name = "-".join([self.name.partition("-")[0], *changes])
        training = replace(self.training, author=author)
        return replace(self, name=name, training=training, changes=tuple(changes))


FULL = Form(
    name="full",
    training=training_forms.FULL,
    tokens=150_000,
    whole_model=False,
    minutes=15.0,
    ratio=0.70,
)
QUICK = Form(
    name="quick",
    training=training_forms.QUICK,
    tokens=20_000,
    whole_model=True,
    minutes=3.0,
    ratio=1.0,
)
