"""Going back to an earlier version: only where what it was certified for is surely above."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.version_choice import better_version

C = 100_000.0


def stream(mean: float, count: int = 300, *, prompt_class: str = "short") -> list[SettledValue]:
    """Thumbs of exactly this mean, spread evenly."""
    good = round(100 * mean)
    return [
        SettledValue(i + 1, "ada", "thumbs", "v2", prompt_class, float((i * good) % 100 < good))
        for i in range(count)
    ]


def chosen(
    certified: Mapping[str, Mapping[str, float]],
    mean: float,
    *,
    own: Mapping[str, float] | None = None,
    fallen: tuple[str, ...] = ("short",),
) -> str:
    return better_version(
        certified,
        stream(mean),
        fallen,
        own={"short": 0.75} if own is None else own,
        tolerance=0.03,
        threshold=C,
        blocks=None,
    )


@pytest.mark.parametrize(
    ("bound", "mean", "goes"), [(0.78, 0.4, True), (0.78, 0.72, False), (0.45, 0.4, False)]
)
def test_it_must_be_above_by_more_than_chance_and_tolerance(
    bound: float, mean: float, goes: bool
) -> None:
    assert chosen({"v1": {"short": bound}}, mean) == ("v1" if goes else "")


def test_of_several_it_is_the_one_that_was_certified_highest() -> None:
    three = {"v1": {"short": 0.72}, "v2": {"short": 0.8}, "v3": {"short": 0.75}}
    assert chosen(three, 0.4) == "v2"
    assert chosen({}, 0.4) == ""


def test_each_class_that_fell_needs_a_bound_and_the_others_must_not_become_worse() -> None:
    old = {"v1": {"short": 0.78, "long": 0.6}}
    assert chosen(old, 0.4, fallen=("short", "why")) == ""
    assert chosen(old, 0.4, own={"short": 0.75, "long": 0.62}) == "v1"
    assert chosen(old, 0.4, own={"short": 0.75, "long": 0.7}) == ""
    assert chosen(old, 0.4, fallen=()) == ""


def test_a_class_without_values_has_not_fallen() -> None:
    both = {"v1": {"short": 0.78, "long": 0.6}}
    assert chosen(both, 0.4, fallen=("short", "long")) == ""
