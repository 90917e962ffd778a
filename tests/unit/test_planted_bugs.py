"""Test the mutation tool (`python -m tests.mutation`)."""

from __future__ import annotations

import ast
import random

import pytest

from tests.mutation import mutants
from tests.mutation.__main__ import read_equivalents


def test_a_mutant_parses_and_differs_from_the_original() -> None:
    planted = mutants.all_mutants()
    assert {mutant.area for mutant in planted} == set(mutants.AREAS)
    for mutant in random.Random(20261125).sample(planted, 100):
        original, mutated = (mutants.ROOT / mutant.path).read_bytes(), mutant.mutated_source()
        assert ast.dump(ast.parse(mutated)) != ast.dump(ast.parse(original)), mutant


@pytest.mark.parametrize("area", mutants.AREAS)
def test_an_area_has_modules_and_tests(area: str) -> None:
    assert mutants.list_modules(area)
    assert mutants.list_test_files(area)


def test_each_known_equivalent_can_still_be_drawn() -> None:
    drawn = {(mutant.path, *mutant.lines()) for mutant in mutants.all_mutants()}
    assert read_equivalents().keys() - drawn == set()
