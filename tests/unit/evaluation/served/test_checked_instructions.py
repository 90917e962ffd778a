"""What each check takes for followed and what not, and when a tuned model has lost it."""

from __future__ import annotations

import pytest

from twin_assets.evaluation.measures.instruction_following import claim, compare
from twin_assets.evaluation.served.checked_instructions import (
    CHECKS,
    CheckedInstruction,
    follows,
    read_checked_instructions,
)
from twin_assets.evaluation.served.served_answers import ANSWER_TOKENS

# followed, and what is nearly so; by check and what it wants
ANSWERS = {
    ("bullets", 3): ("- apples\n- pears\n- plums", "Here are three:\n- apples\n- pears\n- plums"),
    ("bullets", 2): ("* one\n\n* two", "- one\n- two\n- three"),
    ("numbered", 3): ("1. cat\n2. dog\n3. hen", "1. cat\n2. dog\n4. hen"),
    ("json", "sum"): ('{"sum": 9}', '```json\n{"sum": 9}\n```'),
    ("json", "city country"): ('{"city": "Paris", "country": "France"}', '{"city": "Paris"}'),
    ("words", 1): ("Paris.", "It is Paris."),
    ("words", 2): ("New York", "New York City"),
    ("number", None): ("42", "The answer is 42"),
    ("no_comma", None): ("It falls on the roof.", "It falls, on the roof."),
    ("sentences", 1): ("A baker bakes bread.", "A baker bakes bread. He rises early."),
    ("sentences", 2): ("It barks. It runs!", "It barks. It runs and"),
    ("starts_with", "Yes"): ("Yes, it is.", "Yesterday it was."),
    ("ends_with", "The end."): ("It rained. The end.", "The end. It rained."),
    ("uppercase", None): ("HELLO ADA", "HELLO Ada"),
    ("lowercase", None): ("good morning.", "Good morning."),
    ("one_of", "yes no"): ("Yes.", "Yes, it is a star."),
    ("items", 3): ("Mars, Venus, Earth", "Three planets are Mars, Venus, Earth"),
    ("quoted", None): ('"The door is open."', 'She said: "The door is open."'),
    ("mentions", "bridge river"): ("The bridge spans the river.", "The bridges span the rivers."),
}  # fmt: skip
LISTS = {"json", "one_of", "mentions"}


@pytest.mark.parametrize(("check", "wanted"), ANSWERS)
def test_a_check_knows_what_has_the_form_from_what_nearly_has_it(
    check: str, wanted: int | str | None
) -> None:
    texts = str(wanted).split() if check in LISTS else wanted
    instruction = CheckedInstruction("i00", "", check, texts)
    good, bad = ANSWERS[check, wanted]

    assert follows(instruction, f" {good}\n")
    assert not follows(instruction, bad)
    assert not follows(instruction, "  ")


def test_there_are_fifty_and_every_check_is_seen_above() -> None:
    asked = read_checked_instructions()

    assert len(asked) == len({one.id for one in asked}) == len({one.instruction for one in asked})
    assert len(asked) == 50
    assert {one.check for one in asked} == set(CHECKS) == {check for check, _ in ANSWERS}
    assert max(len(one.instruction.split()) for one in asked) < ANSWER_TOKENS


def some(many: int, *, first: int = 0) -> list[bool]:
    return [first <= at < first + many for at in range(50)]


@pytest.mark.parametrize(("mine", "base", "kept"), [
    (25, 20, True), (15, 20, True), (14, 20, False), (7, 12, True), (0, 11, None),
])  # fmt: skip
def test_five_fewer_than_the_base_are_one_too_many_at_six(
    mine: int, base: int, kept: bool | None
) -> None:
    found = compare(some(mine), some(base))

    assert claim(found).passed is kept
    assert claim(found).threshold == -0.1
    assert ("fewer than 12" in claim(found).detail) is (kept is None)


def test_the_difference_is_of_pairs() -> None:
    found = compare(some(20, first=2), some(20))

    assert found.difference.low < found.difference.value == 0 < found.difference.high
