"""Test reading the questions of a batch: three forms of rows, and reports of invalid rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twin_resources.errors import TwinError
from twin_resources.gateway.batches.questions import BatchQuestion, read_questions


def write_questions(folder: Path, *lines: str) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_three_forms_of_a_row_are_read(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Clocks?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Oil?"},
    ]
    body = {"model": "gpt-4o", "messages": messages, "max_tokens": 20, "label": "mine"}
    rows, invalid_rows = read_questions(
        write_questions(
            tmp_path,
            json.dumps({"question": "Oil?", "model": "twin/ann@base"}),
            "",
            json.dumps({"id": "b", "messages": messages, "temperature": 0}),
            json.dumps({"custom_id": "c", "method": "POST", "url": "/v1/x", "body": body}),
        )
    )
    assert invalid_rows == []
    assert [row.id for row in rows] == ["1", "b", "c"]
    assert [row.question for row in rows] == ["Oil?"] * 3
    assert [row.model for row in rows] == ["twin/ann@base", "", ""], (
        "a model of another provider was accepted"
    )
    assert [dict(row.options) for row in rows] == [{}, {"temperature": 0}, {"max_tokens": 20}]
    assert rows[1].messages == rows[2].messages == tuple(messages)


@pytest.mark.parametrize(
    ("line", "reason"),
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
def test_an_invalid_line_is_reported_and_the_others_are_read(
    tmp_path: Path, line: str, reason: str
) -> None:
    rows, invalid_rows = read_questions(
        write_questions(tmp_path, '{"question": "a"}', line, '{"question": "b"}')
    )
    assert [row.question for row in rows] == ["a", "b"]
    [invalid_row] = invalid_rows
    assert invalid_row.location == "line 2"
    assert reason in invalid_row.reason


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.jsonl", None, "the file does not exist"),
        ("questions.docx", "x", "a file of type .docx"),
        ("questions.parquet", "x", "use a .jsonl file"),
        ("questions.jsonl", "", "no question in the file"),
        ("questions.jsonl", "x\n", "no question in the file; line 1: invalid JSON"),
    ],
)
def test_a_file_without_questions_is_refused(
    tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(TwinError, match=reason) as error:
        read_questions(path)
    assert str(path) in str(error.value)


def test_the_fingerprint_depends_on_the_whole_request() -> None:
    messages = ({"role": "user", "content": "a"},)
    question = BatchQuestion("1", messages, "", {})
    fingerprint = question.fingerprint("twin/ann")
    assert fingerprint == BatchQuestion("1", messages, "twin/ann", {}).fingerprint("twin/bob")
    other_fingerprints = {
        question.fingerprint("twin/bob"),
        BatchQuestion("2", messages, "", {}).fingerprint("twin/ann"),
        BatchQuestion("1", messages, "", {"seed": 1}).fingerprint("twin/ann"),
        BatchQuestion("1", messages * 2, "", {}).fingerprint("twin/ann"),
    }
    assert len(other_fingerprints - {fingerprint}) == 4
