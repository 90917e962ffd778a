"""The draw of the short check: a fixed number of cases per name, determined by the seed."""

from __future__ import annotations

import pytest

from tests.drawn import not_drawn

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


def test_a_seed_draws_the_given_number_of_each_name(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers = drawn: tests/drawn.py")
    pytester.makepyfile(FILE)
    items, _ = pytester.inline_genitems("-p", "no:randomly")
    assert len(items) == 13
    drawn: set[str] = set()
    for seed in map(str, range(40)):
        not_selected = not_drawn(items, seed)
        selected = [item.name for item in items if item.nodeid not in not_selected]
        assert not_drawn(reversed(items), seed) == not_selected, "the order changed the draw"
        assert sum("numbers" in name for name in selected) == 2
        assert sum("killed" in name for name in selected) == 1
        assert "test_always" in selected
        drawn.update(selected)
    assert drawn == {item.name for item in items}, "a test is never drawn"


def test_two_numbers_for_one_name_are_refused(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers = drawn: tests/drawn.py")
    pytester.makepyfile(FILE + '\n@pytest.mark.drawn(3, of="kills")\ndef test_more(): pass\n')
    items, _ = pytester.inline_genitems()
    with pytest.raises(ValueError, match="'kills' has two numbers"):
        not_drawn(items, "1")
