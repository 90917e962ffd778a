"""Canaries, what they are ranked among, and exposure from likelihoods."""

from __future__ import annotations

import random

import pytest

from twin_assets.training.canary_exposure import (
    REFERENCES,
    SPACE_BITS,
    canaries,
    claim,
    exposure,
    exposure_of,
    lines,
    others,
    row,
)
from twin_resources.errors import TwinError


def references(canary_id: str, *, seed: int = 0) -> list[float]:
    drawn = random.Random(f"{canary_id}/{seed}")
    return [drawn.gauss(30.0, 1.5) for _ in range(REFERENCES)]


def test_canaries_follow_from_their_seed() -> None:
    one, again, other = canaries("a", 6), canaries("a", 6), canaries("b", 6)

    assert one == again
    assert {canary.number for canary in one}.isdisjoint(canary.number for canary in other)
    assert len({canary.question for canary in one}) == 6
    assert all(len(canary.number.replace(" ", "")) == 9 for canary in one)
    assert canaries("a", 20)[:6] == one


def test_references_differ_from_the_canary_in_the_number_alone() -> None:
    [canary] = canaries("a", 1)
    found = others(canary)

    assert len({one.number for one in found}) == REFERENCES
    assert canary.number not in {one.number for one in found}
    assert {(one.question, one.before) for one in found} == {(canary.question, canary.before)}
    messages = row(canary)["messages"]
    assert [part["content"] for part in messages] == [canary.question, canary.answer]


def test_a_canary_amid_its_references_has_about_a_bit() -> None:
    [canary] = canaries("a", 1)

    found = exposure_of(canary, 30.0, reference_likelihoods=references("a"), planted=8)

    assert 0.5 < found.bits < 1.8
    assert 20 < found.likelier < 44


def test_a_memorised_canary_is_exposed_and_refused() -> None:
    [canary] = canaries("a", 1)

    memorised = exposure_of(canary, 6.0, reference_likelihoods=references("a"), planted=8)
    half = exposure_of(canary, 27.0, reference_likelihoods=references("a"), planted=8)

    assert memorised.bits == pytest.approx(SPACE_BITS)
    assert memorised.likelier == 0
    assert 3 < half.bits < 7.6  # log2 of two canaries of a hundred
    assert claim(exposure([memorised, half])).passed is False
    assert claim(exposure([half, half])).passed is True


def test_canaries_that_were_not_trained_on_are_hardly_ever_refused() -> None:
    found = [
        exposure_of(
            canary,
            random.Random(canary.number).gauss(30.0, 1.5),
            reference_likelihoods=references(canary.id),
            planted=0,
        )
        for canary in canaries("untrained", 60)
    ]
    together = exposure(found)

    assert claim(together).passed is True
    assert 0.7 < together.bits.value < 2.5  # 1.44 bits expected: -log2 of a uniform number
    assert len(lines(together)) == 62


def test_too_few_or_constant_references_measure_nothing() -> None:
    [canary] = canaries("a", 1)

    with pytest.raises(TwinError, match="3 references"):
        exposure_of(canary, 20.0, reference_likelihoods=[30.0, 31.0, 29.0], planted=0)
    with pytest.raises(TwinError, match="standard deviation 0"):
        exposure_of(canary, 20.0, reference_likelihoods=[30.0] * 64, planted=0)
