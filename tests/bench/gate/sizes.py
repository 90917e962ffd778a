"""Define the full and quick sizes of the gate benchmark."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.bench.training import sizes as training_sizes

POST_COUNTS = {"skeeto": 461, "jbranchaud-til": 1871, "mara-lindqvist": 40}


@dataclass(frozen=True)
class GateBenchmarkSize:
    """The size of a benchmark run, and its goals.

    Attributes:
        name: the name of its folders in `build/`.
        training: the training-benchmark size that supplies the dataset and the model.
        token_count: the number of tokens to train on.
        train_all_weights: whether to train all weights; adapters on random weights learn almost
            nothing.
        max_minutes: maximum time for training and evaluation.
        max_perplexity_ratio: maximum ratio of the tuned model's perplexity to the base model's.
    """

    name: str
    training: training_sizes.BenchmarkSize
    token_count: int
    train_all_weights: bool
    max_minutes: float
    max_perplexity_ratio: float

    @property
    def post_count(self) -> int:
        """The number of the author's posts."""
        return self.training.post_count or POST_COUNTS[self.author]

    @property
    def author(self) -> str:
        """The author's slug."""
        return self.training.author

    def with_author(self, author: str) -> GateBenchmarkSize:
        """Return this size for another author."""
        return replace(self, training=replace(self.training, author=author))


FULL = GateBenchmarkSize(
    name="full",
    training=training_sizes.FULL,
    token_count=150_000,
    train_all_weights=False,
    max_minutes=15.0,
    max_perplexity_ratio=0.70,
)
QUICK = GateBenchmarkSize(
    name="quick",
    training=training_sizes.QUICK,
    token_count=20_000,
    train_all_weights=True,
    max_minutes=3.0,
    max_perplexity_ratio=1.0,
)
