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


@pytest.mark.parametrize("width", [80, 100, 120])
def test_each_answer_is_one_line_whose_time_id_and_vote_are_whole(
    store: Store, run_command: Any, width: int
) -> None:
    question = "Would you polish up an antique so it shines the way it did originally, and why?"
    messages = [{"role": "user", "content": f"Question: {question}"}]
    spans = [make_span(n, **{"langfuse.observation.input": json.dumps(messages)}) for n in (1, 2)]
    store.post_spans(*spans)
    for name in ("thumbs", "support", "quote_score", "judge:topic@26fd8413b998", "latency_s"):
        post_score(store, 1, name, 0.5)
    header, *lines, last = run_command(width=width).splitlines()
    assert len(lines) == 2
    assert all(len(line) <= width for line in (header, *lines))
    for number, line in zip((2, 1), lines, strict=True):
        assert re.match(r"2026-\d\d-\d\d \d\d:\d\d ", line)
        assert line.rstrip().endswith(f"{number:032x}")
        assert ("thumbs 0.5" in line) is (number == 1)
    assert ("ann v" in lines[0]) is (width >= 100)
    assert "twin traces --json" in last


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
