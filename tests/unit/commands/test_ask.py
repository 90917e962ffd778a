"""The lines that `twin ask` prints below an answer."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from twin_cli.commands import questions
from twin_cli.commands.questions import EndpointAnswer

from twin_resources.registry.route_names import FRONT_DESK
from twin_resources.settings import load_settings


@pytest.mark.parametrize(
    ("version", "told"),
    [("v1", ["· On oil (http://x/1)", "released for quotations alone"]), (FRONT_DESK, [])],
)
def test_an_answer_of_the_program_is_followed_by_nothing_about_posts_and_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, told: list[str]
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
    reached = SimpleNamespace(gateway="", gateway_key="")
    monkeypatch.setattr(questions, "read_endpoints", lambda _: reached)
    printed = io.StringIO()
    questions.run_ask(
        load_settings(tmp_path),
        answer.question,
        author="",
        model="twin/ann",
        stream=False,
        console=Console(file=printed, width=200),
    )
    lines = printed.getvalue().splitlines()
    assert lines[0] == answer.text
    assert [line for line in lines[1:] if line and not line.startswith("version")] == told
