"""Test the checks of instructions and the claim about them."""

from __future__ import annotations

import pytest

from twin_assets.evaluation.measures.instruction_following import decide_claim
from twin_assets.evaluation.served.checked_instructions import (
    CHECKS,
    CheckedInstruction,
    has_requested_form,
    read_checked_instructions,
)
from twin_assets.evaluation.served.served_answers import ANSWER_TOKENS

# (check, argument) → (matching answer, nearly matching answer)
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
LIST_CHECKS = {"json", "one_of", "mentions"}


@pytest.mark.parametrize(("check", "argument"), ANSWERS)
def test_a_check_accepts_only_the_requested_form(check: str, argument: int | str | None) -> None:
    texts = str(argument).split() if check in LIST_CHECKS else argument
    instruction = CheckedInstruction("i00", "", check, texts)
    good, bad = ANSWERS[check, argument]

    assert has_requested_form(instruction, f" {good}\n")
    assert not has_requested_form(instruction, bad)
    assert not has_requested_form(instruction, "  ")


def test_fifty_instructions_use_every_check() -> None:
    instructions = read_checked_instructions()

    assert (
        len(instructions)
        == len({instruction.id for instruction in instructions})
        == len({instruction.instruction for instruction in instructions})
    )
    assert len(instructions) == 50
    assert (
        {instruction.check for instruction in instructions}
        == set(CHECKS)
        == {check for check, _ in ANSWERS}
    )
    assert max(len(instruction.instruction.split()) for instruction in instructions) < ANSWER_TOKENS


def make_flags(count: int, *, first: int = 0) -> list[bool]:
    return [first <= index < first + count for index in range(50)]


@pytest.mark.parametrize(("tuned", "base", "passed"), [
    (25, 20, True), (15, 20, True), (14, 20, False), (7, 12, True), (0, 11, None),
])  # fmt: skip
def test_the_claim_allows_at_most_five_fewer_than_the_base(
    tuned: int, base: int, passed: bool | None
) -> None:
    claim = decide_claim(make_flags(tuned), make_flags(base))

    assert claim.passed is passed
    assert claim.threshold == -0.1
    assert ("fewer than 12" in claim.detail) is (passed is None)


def test_the_difference_is_paired() -> None:
    claim = decide_claim(make_flags(20, first=2), make_flags(20))

    assert "+0.00 (95 %: -0.08 to +0.08)" in claim.detail
