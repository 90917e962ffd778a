"""Test the journal and the output file of a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from twin_resources.errors import TwinError
from twin_resources.gateway.batches.answers import Journal, check_output_path, journal_path


def create_row(name: str, *, error: str = "") -> dict[str, Any]:
    source = {"document_id": "d", "title": "On oil", "url": ""}
    return {
        "id": name, "question": "Oil?", "answer": "" if error else "One drop.", "error": error,
        "kind": "quote", "model": "twin/ann", "version": "base", "route": "quotes",
        "cost_usd": None if error else 0.25, "degraded": "", "trace_id": "t", "seconds": 0.5,
        "sources": [source], "quotes": [source | {"text": "One drop.", "start": 0, "end": 9}],
        "fingerprint": f"of {name}",
    }  # fmt: skip


def test_a_batch_resumes_after_a_kill_and_skips_finished_rows(tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    first_run = Journal(output)
    first_run.append(create_row("b"))
    first_run.append(create_row("c", error="400: no"))
    with pytest.raises(TwinError, match="another command is working on it"):
        Journal(output)
    first_run.close()
    with journal_path(output).open("ab") as journal_file:  # the last line of a killed run
        journal_file.write(b'{"id": "d", "fingerpr')

    second_run = Journal(output)
    assert [f"of {name}" in second_run for name in "abcd"] == [False, True, False, False]
    second_run.append(create_row("a"))
    second_run.append(create_row("c"))
    second_run.finish(f"of {name}" for name in "abc")
    assert not journal_path(output).exists()
    stored_rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert stored_rows == [create_row("a"), create_row("b"), create_row("c")]

    third_run = Journal(output)
    assert all(f"of {name}" in third_run for name in "abc")
    third_run.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [output.name]


def test_a_file_of_another_program_is_not_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    output.write_text('{"question": "mine"}\n')
    with pytest.raises(TwinError, match="not written by a batch"):
        Journal(output)
    output.write_text("no JSON\n")
    with pytest.raises(TwinError, match="line 1"):
        Journal(output)


def test_an_unusable_output_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match=r"a file of type \.parquet.* use a \.jsonl file"):
        check_output_path(tmp_path / "answers.parquet")
    with pytest.raises(TwinError, match="does not exist"):
        check_output_path(tmp_path / "none" / "answers.jsonl")
    check_output_path(tmp_path / "answers.jsonl")
