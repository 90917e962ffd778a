"""A general set is read in the forms that sets come in, and mixed in by its share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twin_assets.instructions.dataset_claims import check_mix
from twin_assets.instructions.general_set import (
    GeneralSample,
    GeneralSet,
    count_samples_needed,
    read_general_set,
)
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

CHAT = [("user", "Why is the sky blue?"), ("assistant", "Air scatters blue light most.")]
FORMS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [{"role": role, "content": text} for role, text in CHAT]},
    "ShareGPT": {
        "conversations": [
            {"from": "human", "value": CHAT[0][1]},
            {"from": "gpt", "value": CHAT[1][1]},
        ]
    },
    "completion": {"prompt": CHAT[0][1], "completion": CHAT[1][1]},
    "Alpaca": {"instruction": CHAT[0][1], "input": "", "output": CHAT[1][1]},
    "question": {"question": CHAT[0][1], "answer": f"  {CHAT[1][1]}\n"},
}


def write(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif path.suffix == ".csv":
        pl.DataFrame(rows).write_csv(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet"])
def test_every_form_in_every_file(form: str, ending: str, home: Settings, tmp_path: Path) -> None:
    found = read_general_set(str(write(tmp_path / f"set{ending}", [FORMS[form]])), home)
    assert [sample.messages for sample in found.samples] == [tuple(CHAT)]
    assert (found.samples[0].question, found.samples[0].answer) == (CHAT[0][1], CHAT[1][1])
    assert found.source.startswith(f"set{ending}@")
    assert found.unreadable == 0


def test_texts_of_a_table_and_of_a_folder(home: Settings, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [FORMS["completion"]])
    second = {"instruction": "Add these numbers.", "input": "1, 2 and 4", "output": "They are 7."}
    write(tmp_path / "b.jsonl", [second])
    (tmp_path / "notes.md").write_text("not a sample")
    found = read_general_set(str(tmp_path), home)
    asked = [sample.question for sample in found.samples]
    assert asked == [CHAT[0][1], "Add these numbers.\n\n1, 2 and 4"]
    write(tmp_path / "b.jsonl", [{**second, "output": "Seven."}])
    assert read_general_set(str(tmp_path), home).source != found.source


def test_a_text_may_hold_what_ends_a_line_for_python_alone(home: Settings, tmp_path: Path) -> None:
    row = {"prompt": "Which\u2028two\x85lines?", "completion": "The first\u2029and the second."}
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\r\n", encoding="utf-8", newline="")
    (found,) = read_general_set(str(path), home).samples
    assert found.messages == (("user", row["prompt"]), ("assistant", row["completion"]))


def test_what_is_no_chat_is_counted_and_what_asks_the_same_is_there_once(
    home: Settings, tmp_path: Path
) -> None:
    user, assistant = FORMS["messages"]["messages"]
    rows: list[Any] = [
        FORMS["messages"],
        {"messages": [{"role": "system", "content": "Be brief."}, user, assistant]},
        {"messages": [user]},
        {"messages": [assistant, user]},
        {"messages": [user, user, assistant]},
        {"messages": [user, {"role": "assistant", "content": None}]},
        {"messages": [user, {"role": "tool", "content": "42"}]},
        {"prompt": "Why?", "completion": "word " * 2_000},
        {"text": "no question"},
        ["a list"],
        {"question": "WHY is the sky … blue", "answer": "Another answer."},
        {"messages": [user, assistant, {"role": "user", "content": "And at dusk?"}, assistant]},
    ]
    found = read_general_set(str(write(tmp_path / "set.jsonl", rows)), home)
    assert [sample.question for sample in found.samples] == [CHAT[0][1], "And at dusk?"]
    assert found.unreadable == 8


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "neither an existing path"),
        ("set.jsonl", "none of which is a chat"),
        ("broken.jsonl", "broken.jsonl"),
        ("empty", "0 files"),
    ],
)
def test_a_set_that_is_none_is_named(
    name: str, says: str, home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "set.jsonl", [{"text": "no question"}])
    (tmp_path / "broken.jsonl").write_text('{"prompt": ')
    (tmp_path / "empty").mkdir()
    with pytest.raises(TwinError, match=says):
        read_general_set(name, home)


def a_set(count: int) -> GeneralSet:
    samples = tuple(
        GeneralSample(f"general-{number}", (("user", f"Ask {number}?"), ("assistant", "Yes.")))
        for number in range(count)
    )
    return GeneralSet("set@1", samples, unreadable=3)


def test_the_share_is_of_all_that_is_trained_on() -> None:
    assert count_samples_needed(90, 0.1) == 10
    assert count_samples_needed(90, 0.0) == 0
    assert count_samples_needed(7, 0.5) == 7
    mixed = a_set(50).draw_mix(training=90, share=0.1)
    assert (len(mixed.samples), mixed.share) == (10, 0.1)
    assert mixed.metadata()["general"]["samples"] == 10
    more = a_set(50).draw_mix(training=99, share=0.1)
    assert set(mixed.samples) < set(more.samples)  # one more post changes one sample
    few = a_set(5).draw_mix(training=90, share=0.1)
    assert (len(few.samples), few.share, few.asked_share) == (5, round(5 / 95, 4), 0.1)


def test_what_the_gate_asks_is_not_trained_on() -> None:
    asked = GeneralSample("general-a", (("user", "How many legs has a spider got?"), *CHAT[1:]))
    near = GeneralSample("general-b", (("user", "How many legs has one spider got?"), *CHAT[1:]))
    other = GeneralSample("general-c", (("user", "How many wings has a fly?"), *CHAT[1:]))
    found = GeneralSet("set@1", (asked, near, other), unreadable=0)
    question = "How many legs has a spider got?"
    mixed = found.draw_mix(training=100, share=0.5, excluded_questions=[question])
    assert mixed.samples == (other,)
    assert mixed.left_to_the_gate == 2
    assert set(found.draw_mix(training=100, share=0.5).samples) == {asked, near, other}


def rows_of(train: int, general: int, **changed: Any) -> pl.DataFrame:
    def row(split: str, document: str, source: str) -> dict[str, Any]:
        said = [{"role": "user", "content": "Q?"}, {"role": "assistant", "content": "Yes."}]
        return {
            "split": split,
            "document_id": document,
            "instruction_source": source,
            "answer": "Yes.",
            "messages": said,
        }

    rows = [row("train", f"d{number}", "template:point") for number in range(train)]
    rows += [row("general", "general", "general:set@1") for _ in range(general)]
    rows[-1] |= changed
    return pl.DataFrame(rows)


def test_the_mix_is_compared_with_what_is_asked_for() -> None:
    exact = check_mix(rows_of(90, 10), share=0.1)
    assert exact.is_sound
    assert exact.is_complete
    few = check_mix(rows_of(90, 9), share=0.1)
    assert (few.is_sound, few.is_complete) == (True, False)
    assert not check_mix(rows_of(90, 11), share=0.1).is_sound
    assert not check_mix(rows_of(90, 10), share=0.0).is_sound  # nobody asked for it
    assert check_mix(rows_of(90, 0), share=0.0).is_complete


@pytest.mark.parametrize(
    "changed",
    [
        {"split": "train"},
        {"split": "held_out"},
        {"document_id": "d3"},
        {"instruction_source": "template:point"},
        {"answer": "No."},
    ],
)
def test_a_general_sample_in_the_wrong_place_is_found(changed: dict[str, Any]) -> None:
    assert check_mix(rows_of(90, 10), share=0.2).is_sound
    assert not check_mix(rows_of(90, 10, **changed), share=0.2).is_sound
