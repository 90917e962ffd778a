"""A batch's rows: three forms, and each broken one said by its place."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from twin_resources.errors import TwinError
from twin_resources.gateway.batches.questions import BatchQuestion, InvalidRow, read_questions


def written(folder: Path, *lines: str) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_question_messages_and_a_line_of_openais_batch_are_one_thing(tmp_path: Path) -> None:
    talk = [
        {"role": "user", "content": "Clocks?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Oil?"},
    ]
    body = {"model": "gpt-4o", "messages": talk, "max_tokens": 20, "label": "mine"}
    rows, broken = read_questions(
        written(
            tmp_path,
            json.dumps({"question": "Oil?", "model": "twin/ann@base"}),
            "",
            json.dumps({"id": "b", "messages": talk, "temperature": 0}),
            json.dumps({"custom_id": "c", "method": "POST", "url": "/v1/x", "body": body}),
        )
    )
    assert broken == []
    assert [row.id for row in rows] == ["1", "b", "c"]
    assert [row.question for row in rows] == ["Oil?"] * 3
    assert [row.model for row in rows] == ["twin/ann@base", "", ""], "gpt-4o is no model of ours"
    assert [dict(row.options) for row in rows] == [{}, {"temperature": 0}, {"max_tokens": 20}]
    assert rows[1].messages == rows[2].messages == tuple(talk)


def test_a_parquet_table_is_read_by_the_same_columns(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    pl.DataFrame({"id": [7, 8], "question": ["Oil?", None], "seed": [None, 3]}).write_parquet(path)
    rows, broken = read_questions(path)
    assert [(row.id, row.question, dict(row.options)) for row in rows] == [("7", "Oil?", {})]
    assert broken == [InvalidRow("row 2", "the row has neither `question` nor `messages`")]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"question": "a"', "invalid JSON: "),
        ("[1]", "not a JSON object"),
        ('{"prompt": "a"}', "neither `question` nor `messages`"),
        ('{"question": "  "}', "neither `question` nor `messages`"),
        ('{"messages": []}', "ends with the user's"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "ends with the user's"),
        ('{"messages": [{"role": "user"}]}', "ends with the user's"),
        ('{"messages": ["a"]}', "ends with the user's"),
        ('{"id": "1", "question": "again"}', "the id '1' is already used by an earlier row"),
    ],
)
def test_a_broken_line_is_told_and_the_others_stay(tmp_path: Path, line: str, found: str) -> None:
    rows, broken = read_questions(written(tmp_path, '{"question": "a"}', line, '{"question": "b"}'))
    assert [row.question for row in rows] == ["a", "b"]
    [one] = broken
    assert one.place == "line 2"
    assert found in one.reason


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("none.jsonl", None, "no such file"),
        ("questions.docx", "x", "a file of type .docx"),
        ("questions.jsonl", "", "no question in the file"),
        ("questions.jsonl", "x\n", "no question in the file; line 1: invalid JSON"),
        ("questions.parquet", "x", "parquet"),
    ],
)
def test_a_file_without_questions_is_refused(
    tmp_path: Path, name: str, content: str | None, found: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(TwinError, match=found) as caught:
        read_questions(path)
    assert str(path) in str(caught.value)


def test_an_answer_belongs_to_its_whole_request() -> None:
    messages = ({"role": "user", "content": "a"},)
    one = BatchQuestion("1", messages, "", {})
    same = one.fingerprint("twin/ann")
    assert same == BatchQuestion("1", messages, "twin/ann", {}).fingerprint("twin/bob")
    others = {
        one.fingerprint("twin/bob"),
        BatchQuestion("2", messages, "", {}).fingerprint("twin/ann"),
        BatchQuestion("1", messages, "", {"seed": 1}).fingerprint("twin/ann"),
        BatchQuestion("1", messages * 2, "", {}).fingerprint("twin/ann"),
    }
    assert len(others - {same}) == 4
