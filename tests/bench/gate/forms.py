"""The forms of the gate benchmark."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    """

    name: str
    training: training_forms.BenchmarkSize
    tokens: int
    whole_model: bool
    minutes: float
    ratio: float

    @property
    def posts(self) -> int:
        """The number of the author's posts."""
        return self.training.post_count or ALL_POSTS[self.author]

    @property
    def author(self) -> str:
        """The author's slug."""
        return self.training.author

    def of(self, author: str) -> Form:
        """Return this form for another author."""
        return replace(self, training=replace(self.training, author=author))


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
