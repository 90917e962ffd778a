"""Test that the short check draws a fixed number of cases per name, determined by the seed."""

from __future__ import annotations

import pytest

from tests.case_sampling import find_deselected

pytest_plugins = ("pytester",)
FILE = """
import pytest

@pytest.mark.drawn(2)
@pytest.mark.parametrize("number", range(9))
def test_numbers(number):
    pass

@pytest.mark.drawn(1, of="kills")
def test_killed():
    pass

@pytest.mark.drawn(1, of="kills")
@pytest.mark.parametrize("rank", [0, 1])
def test_killed_rank(rank):
    pass

def test_always():
    pass
"""


def test_each_seed_draws_the_given_number_of_cases_per_name(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers = drawn: tests/case_sampling.py")
    pytester.makepyfile(FILE)
    items, _ = pytester.inline_genitems("-p", "no:randomly")
    assert len(items) == 13
    ever_selected: set[str] = set()
    for seed in map(str, range(40)):
        deselected = find_deselected(items, seed)
        selected = [item.name for item in items if item.nodeid not in deselected]
        assert find_deselected(reversed(items), seed) == deselected, "the order changed the draw"
        assert sum("numbers" in name for name in selected) == 2
        assert sum("killed" in name for name in selected) == 1
        assert "test_always" in selected
        ever_selected.update(selected)
    assert ever_selected == {item.name for item in items}, "a test was never drawn"


def test_two_numbers_for_one_name_are_refused(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers = drawn: tests/case_sampling.py")
    pytester.makepyfile(FILE + '\n@pytest.mark.drawn(3, of="kills")\ndef test_more(): pass\n')
    items, _ = pytester.inline_genitems()
    with pytest.raises(ValueError, match="'kills' has two numbers"):
        find_deselected(items, "1")
