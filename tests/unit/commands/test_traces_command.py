"""Test `twin traces` with an embedded store in this process: the table, the filters, the JSON."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from twin_cli.commands.answer_history import run_traces
from twin_cli.commands.console import SafeConsole

from tests.json_examples import read_json_example, shape
from tests.unit.trace_store.conftest import KEYS, Store
from tests.unit.trace_store.conftest import store as store  # noqa: PLC0414 - a fixture
from tests.unit.trace_store.test_trace_reading import make_span, post_score
from twin_resources.authors import Author, write_author
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.settings import Settings


@pytest.fixture
def run_command(
    store: Store,
    home: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Return a function that runs the command with the test's store and returns its output."""

    def make_client(_settings: Settings) -> LangfuseClient:
        http: Any = store.http
        keys = {"public_key": KEYS.public, "secret_key": KEYS.secret}
        return LangfuseClient("http://testserver", http=http, **keys)

    monkeypatch.setattr(LangfuseClient, "from_settings", make_client)
    monkeypatch.setattr(LangfuseClient, "close", lambda _self: None)  # the fixture closes it

    for name in ("ann", "bob"):
        write_author(home, Author(slug=name, name=name.title()))

    def run(*, width: int = 180, **options: Any) -> str:
        stream = io.StringIO()
        defaults = {"author": "", "version": "", "route": "", "score": "", "limit": 20}
        console = SafeConsole(file=stream, width=width, soft_wrap=True)
        assert run_traces(home, **defaults | {"as_json": False} | options, console=console) == 0
        return stream.getvalue()

    return run


def test_the_table_shows_version_route_feedback_and_id(store: Store, run_command: Any) -> None:
    store.post_spans(make_span(1), make_span(2, version="base", route="alias:base"))
    post_score(store, 1, "thumbs", 0.0)
    post_score(store, 1, "latency_s", 2.0)
    post_score(store, 1, "output", "[bold]Better.[/bold]")
    output = run_command()
    newest, oldest = (line for line in output.splitlines() if "what of" in line)
    assert "ann base" in newest
    assert "alias:base" in newest
    assert f"{2:032x}" in newest
    assert "thumbs 0" in oldest
    assert "edited" in oldest
    assert "latency" not in output
    assert "twin explain" in output


def test_a_narrow_table_keeps_times_and_ids_whole(store: Store, run_command: Any) -> None:
    question = "Would you polish up an antique so it shines the way it did originally, and why?"
    messages = [{"role": "user", "content": f"Question: {question}"}]
    store.post_spans(make_span(1, **{"langfuse.observation.input": json.dumps(messages)}))
    post_score(store, 1, "support", 0.5)
    output = run_command(width=110)
    assert re.search(r"^2026-\d\d-\d\d \d\d:\d\d +ann v\d", output, re.MULTILINE), output
    assert f"{1:032x}" in output
    assert "support 0.5" in output


def test_filters_reach_the_store(store: Store, run_command: Any) -> None:
    store.post_spans(make_span(1), make_span(2, version="base", route="alias:base"))
    post_score(store, 1, "thumbs", 0.0)
    for options, count in (
        ({"version": "base"}, 1),
        ({"route": "alias:base"}, 1),
        ({"author": "bob"}, 0),
        ({"score": "thumbs<0.5"}, 1),
        ({"limit": 1}, 1),
        ({}, 2),
    ):
        assert run_command(**options).count("what of") == count, options
    assert "no trace matches" in run_command(author="bob")


def test_json_is_as_documented(store: Store, run_command: Any) -> None:
    store.post_spans(make_span(1))
    post_score(store, 1, "thumbs", 0.0, comment="no")
    assert shape(json.loads(run_command(as_json=True))) == shape(read_json_example("traces"))


def test_traces_are_read_in_several_pages(store: Store, run_command: Any) -> None:
    store.post_spans(*(make_span(number) for number in range(1, 131)))
    rows = json.loads(run_command(as_json=True, limit=120))["traces"]
    assert [int(row["trace_id"], 16) for row in rows] == list(range(130, 10, -1))
