"""Define the full and quick sizes of the gate benchmark."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.bench.training import forms as training_forms

POST_COUNTS = {"skeeto": 461, "jbranchaud-til": 1871, "mara-lindqvist": 40}


@dataclass(frozen=True)
class GateBenchmarkSize:
    """The amount of work of a run.

    Attributes:
        name: the name of its folders in `build/`.
        training: the training-benchmark size that supplies the dataset and the model.
        tokens: the number of tokens to train on.
        whole_model: whether to train all weights; adapters on random weights learn almost nothing.
        minutes: maximum time for training and evaluation.
        ratio: maximum ratio of the tuned model's perplexity to the base model's.
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
        return self.training.post_count or POST_COUNTS[self.author]

    @property
    def author(self) -> str:
        """The author's slug."""
        return self.training.author

    def of(self, author: str) -> GateBenchmarkSize:
        """Return this form for another author."""
        return replace(self, training=replace(self.training, author=author))


FULL = GateBenchmarkSize(
    name="full",
    training=training_forms.FULL,
    tokens=150_000,
    whole_model=False,
    minutes=15.0,
    ratio=0.70,
)
QUICK = GateBenchmarkSize(
    name="quick",
    training=training_forms.QUICK,
    tokens=20_000,
    whole_model=True,
    minutes=3.0,
    ratio=1.0,
)
