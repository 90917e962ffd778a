"""The forms of the training benchmark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """The amount of work of a run.

    Attributes:
        posts: number of the author's posts; None means all.
        tiny: use a random model of two layers instead of SmolLM2-135M.
        samples: on which each runner trains once; a multiple of every runner's samples a step.
        held_out: number of samples whose loss is compared afterwards.
        rounds: how often each runner trains.
        author: slug; a key of `material.SHARED_AUTHORS` or `BUNDLED_AUTHORS`.
    """

    posts: int | None
    tiny: bool
    samples: int
    held_out: int
    rounds: int
    author: str = "skeeto"

    @property
    def model(self) -> str:
        return "a tiny random model" if self.tiny else "SmolLM2-135M"


FULL = Form(
    posts=None,
    tiny=False,
    samples=48,
    held_out=32,
    rounds=3,
)
QUICK = Form(
    posts=40,
    tiny=True,
    samples=16,
    held_out=8,
    rounds=1,
)
