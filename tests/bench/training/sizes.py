"""Define the full and quick sizes of the training benchmark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BenchmarkSize:
    """The size of one benchmark run.

    Attributes:
        post_count: number of the author's posts; None means all.
        use_tiny_model: use a random model of two layers instead of SmolLM2-135M.
        sample_count: number of training samples, each used once; a multiple of every runner's
            samples per step.
        held_out_count: number of samples whose loss is compared afterwards.
        rounds: number of times each runner trains.
        author: slug; a key of `inputs.SHARED_AUTHORS` or `BUNDLED_AUTHORS`.
    """

    post_count: int | None
    use_tiny_model: bool
    sample_count: int
    held_out_count: int
    rounds: int
    author: str = "skeeto"

    @property
    def model_description(self) -> str:
        return "a tiny random model" if self.use_tiny_model else "SmolLM2-135M"


FULL = BenchmarkSize(
    post_count=None, use_tiny_model=False, sample_count=48, held_out_count=32, rounds=3
)
QUICK = BenchmarkSize(
    post_count=40, use_tiny_model=True, sample_count=16, held_out_count=8, rounds=1
)
