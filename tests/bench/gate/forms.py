"""How much each form of the benchmark of the gate does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from tests.bench.training import forms as of_training

ALL_POSTS = {"skeeto": 461, "jbranchaud-til": 1871, "mara-lindqvist": 40}


@dataclass(frozen=True)
class Form:
    """One form.

    Attributes:
        name: of what is kept in `build/`.
        training: the form of the benchmark of training whose dataset and model are used.
        tokens: that pass the model in training.
        whole_model: every weight is trained: adapters on random weights learn hardly anything.
        minutes: goal for training and evaluation.
        ratio: goal for the perplexity of tuned and base model.
        changes: of the recipe, `KEY=VALUE` each.
    """

    name: str
    training: of_training.Form
    tokens: int
    whole_model: bool
    minutes: float
    ratio: float
    changes: tuple[str, ...] = ()

    @property
    def recipe(self) -> dict[str, Any]:
        """What the recipe says otherwise than the default one."""
        pairs = (change.partition("=") for change in self.changes)
        return {key: yaml.safe_load(value) for key, _, value in pairs}

    @property
    def posts(self) -> int:
        """How many of the shared author's."""
        return self.training.posts or ALL_POSTS[self.author]

    @property
    def author(self) -> str:
        """Whose posts."""
        return self.training.author

    def of(self, author: str, changes: Sequence[str] = ()) -> Form:
        """The same of another author, and by another recipe."""
        name = "-".join([self.name.partition("-")[0], *changes])
        training = replace(self.training, author=author)
        return replace(self, name=name, training=training, changes=tuple(changes))


FULL = Form(
    name="full",
    training=of_training.FULL,
    tokens=150_000,
    whole_model=False,
    minutes=15.0,
    ratio=0.70,
)
QUICK = Form(
    name="quick",
    training=of_training.QUICK,
    tokens=20_000,
    whole_model=True,
    minutes=3.0,
    ratio=1.0,
)
