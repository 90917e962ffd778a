"""Test the lines that `twin ask` prints below an answer."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands import questions
from twin_cli.commands.questions import EndpointAnswer

from twin_resources.registry.route_names import FRONT_DESK
from twin_resources.settings import load_settings


@pytest.mark.parametrize(
    ("version", "expected_lines"),
    [("v1", ["· On oil (http://x/1)", "released for quotations alone"]), (FRONT_DESK, [])],
)
def test_a_built_in_answer_shows_no_posts_and_no_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, expected_lines: list[str]
) -> None:
    answer = EndpointAnswer(
        "Where do I begin?",
        "Ask about anything.",
        sources=({"document_id": "d1", "title": "On oil", "url": "http://x/1"},),
        version=version,
        kind="voice",
        release="quotations alone",
    )
    monkeypatch.setattr(questions, "ask", lambda *_, **__: answer)
    monkeypatch.setattr(questions, "make_client", lambda *_: None)
    monkeypatch.setattr(questions, "find_gateway", lambda _: ("", ""))
    output = io.StringIO()
    questions.run_ask(
        load_settings(tmp_path),
        answer.question,
        author="",
        model="twin/ann",
        stream=False,
        console=Console(file=output, width=200),
    )
    lines = output.getvalue().splitlines()
    assert lines[0] == answer.text
    assert [line for line in lines[1:] if line and not line.startswith("version")] == expected_lines
