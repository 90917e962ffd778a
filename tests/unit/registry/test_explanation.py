"""Test that an answer is traced back to its model, manifest, chunks and posts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.model_versions import register_version
from tests.stored_rows import store_rows
from twin_resources.errors import TwinError
from twin_resources.registry.explanation import ExplainedPassage, Explanation, explain_answer
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

PROMPT = [
    {"role": "system", "content": "You are Ann."},
    {"role": "user", "content": "From my posts:\n\n[1] Oil\nOne drop.\n\nQuestion: How much oil?"},
]


@pytest.fixture
def state(home: Settings) -> Iterator[State]:
    with closing(open_home_state(home)) as store:
        yield store


def explain_trace(
    home: Settings,
    *,
    prompt: object = PROMPT,
    answer: object = '{"role": "assistant", "content": "One drop."}',
    kind: str = "GENERATION",
    **trace: str,
) -> Explanation:
    """Explain a trace with one step before its generation."""
    steps = [
        {"type": "SPAN", "input": "ignored", "output": "ignored"},
        {"type": kind, "input": prompt, "output": answer},
    ]
    metadata = {"twin.author": "ann", "other": "1"} | {f"twin.{k}": v for k, v in trace.items()}
    return explain_answer(home, {"id": "t1", "metadata": metadata, "observations": steps})


def test_the_question_is_the_last_paragraph_of_the_last_message(home: Settings) -> None:
    for prompt in (PROMPT, json.dumps(PROMPT)):
        explanation = explain_trace(home, prompt=prompt)
        assert (explanation.trace_id, explanation.question, explanation.answer) == (
            "t1", "How much oil?", "One drop.",
        )  # fmt: skip
    assert explanation.trace == {"twin.author": "ann"}
    assert (explanation.model, explanation.manifest, explanation.passages) == ({}, {}, ())


def test_a_trace_without_a_generation_has_no_question(home: Settings) -> None:
    explanation = explain_trace(home, kind="EVENT")
    assert (explanation.question, explanation.answer) == ("", "")


def test_a_trace_of_another_program_is_an_error(home: Settings) -> None:
    trace: dict[str, Any] = {"id": "t1", "metadata": {"author": "ann"}, "observations": []}
    with pytest.raises(TwinError, match=r"explain the trace t1.*not written by this gateway"):
        explain_answer(home, trace)


def test_the_version_belongs_to_the_author_and_may_lack_a_manifest(
    home: Settings, state: State
) -> None:
    registry = Registry(state, policy_path=home.policy_path)
    for author in ("bob", "ann"):
        folder = home.home / author
        folder.mkdir()
        register_version(registry, author, "c1", folder=str(folder))
    explanation = explain_trace(home, checkpoint="c1")
    assert explanation.model["author"] == "ann"
    assert explanation.model["folder"] == str(home.home / "ann")
    assert explanation.manifest == {}
    (home.home / "ann" / "manifest.json").write_text('{"steps": 3}')
    assert explain_trace(home, checkpoint="c1").manifest == {"steps": 3}
    unknown = explain_trace(home, checkpoint="c2")
    assert (unknown.model, unknown.manifest) == ({}, {})


def test_passages_keep_their_order_and_have_document_and_post(home: Settings, state: State) -> None:
    tables = Tables(home.tables_base, state=state)
    chunk: dict[str, Any] = {"title": "Oil", "position": 2, "start": 5, "end": 9, "text": "Drop."}
    chunks = [
        chunk | {"chunk_id": "c'1", "document_id": "d1", "url": ""},
        chunk | {"chunk_id": "c2", "document_id": "d2", "url": "https://x/2"},
        chunk | {"chunk_id": "c3", "document_id": "d3", "url": ""},
    ]
    store_rows(tables, "document_chunks", "ann", chunks, key="chunk_id")
    documents = [{"document_id": f"d{n}", "source_id": f"s{n}"} for n in (1, 2)]
    store_rows(tables, "cleaned_documents", "ann", documents, key="document_id")
    posts = [
        {"source_id": f"s{n}", "path": f"{n}.md", "url": f"https://post/{n}", "deleted": False}
        for n in (1, 2)
    ]
    store_rows(tables, "raw_posts", "ann", posts, key="source_id")
    passages = explain_trace(home, chunks="c2,,gone,c'1,c3").passages
    assert [passage.chunk_id for passage in passages] == ["c2", "gone", "c'1", "c3"]
    second, missing, first, orphan = passages
    assert (second.source_id, second.path, second.url) == ("s2", "2.md", "https://x/2")
    assert (first.source_id, first.path, first.url) == ("s1", "1.md", "https://post/1")
    assert (first.title, first.position, first.offsets, first.text) == ("Oil", 2, (5, 9), "Drop.")
    assert missing == ExplainedPassage("gone", "", "", 0, (0, 0), "", "", "", "")
    assert (orphan.document_id, orphan.source_id, orphan.path) == ("d3", "", "")
