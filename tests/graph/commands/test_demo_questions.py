"""Test that the demo's reader asks only questions that no version was trained on."""

from __future__ import annotations

import pytest
from twin_cli.commands.demo.reader import MIN_QUESTIONS, read_held_out_questions

from tests.stored_rows import store_rows
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

NAMES = ("wheel", "rope", "tide", "lamp", "bell", "spring", "pulley", "weight", "escapement",
    "crown", "hammer", "dial")  # fmt: skip


def write_dataset(home: Settings, *, held_out_count: int) -> None:
    rows = [
        {
            "sample_id": f"{split}-{name}",
            "inputs": "1",
            "split": split,
            "question": f"What is the {name} of the {split} one for?",
            "answer": f"The {name} turns, and in the {split} one it is what a keeper looks at.",
        }
        for split, names in (("train", NAMES), ("held_out", NAMES[:held_out_count]))
        for name in names
    ]
    tables = Tables(home.tables_base, state=open_home_state(home))
    store_rows(tables, "instruction_dataset", "ada", rows, key="sample_id")


def test_the_demo_questions_are_held_out(home: Settings) -> None:
    write_dataset(home, held_out_count=12)

    questions = read_held_out_questions(home, "ada")

    assert sorted(next(iter(item.subjects)) for item in questions) == sorted(
        name[:6] for name in NAMES
    )
    assert all("held_out" in item.question for item in questions)
    assert read_held_out_questions(home, "ada") == questions, "the order changed"


def test_too_few_held_out_questions_are_an_error(home: Settings) -> None:
    write_dataset(home, held_out_count=MIN_QUESTIONS - 1)
    with pytest.raises(TwinError, match="only 9 questions"):
        read_held_out_questions(home, "ada")
