"""Test `twin explain`, `versions`, `rollback`, `release` and `lower-floor` with real tables."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from rich.console import Console
from twin_cli.commands.answer_history import build_explanation_tree
from twin_cli.commands.lower_floor_command import run_lower_floor
from twin_cli.commands.outcome import open_registry
from twin_cli.commands.versions import run_release, run_rollback, run_versions

from tests.json_examples import read_json_example, shape
from tests.model_versions import register_version
from tests.stored_rows import store_rows
from tests.unit.registry.comparison_claims import make_stable_claims
from twin_resources.authors import Author, read_author, write_author
from twin_resources.errors import TwinError
from twin_resources.registry.explanation import Explanation, load_passages
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.registry import MoveRefusedError, Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state_tables import loop_requests
from twin_resources.storage.tables.tables import Tables

CHUNK = {
    "chunk_id": "c1",
    "document_id": "d1",
    "title": "It's a clock",
    "url": "",
    "position": 0,
    "start": 0,
    "end": 5,
    "text": "Words",
}


@pytest.fixture
def corpus(tables: Tables) -> Tables:
    chunks = [CHUNK, CHUNK | {"chunk_id": "c'2"}]
    store_rows(tables, "embeddings", "ada", chunks, key="chunk_id")
    document = {"document_id": "d1", "source_id": "a.md"}
    store_rows(tables, "cleaned_documents", "ada", [document], key="document_id")
    post = {"source_id": "a.md", "path": "/posts/a.md", "url": "http://x/a", "deleted": False}
    store_rows(tables, "raw_posts", "ada", [post], key="source_id")
    return tables


def test_passages_are_loaded_with_their_posts_in_the_order_of_the_prompt(corpus: Tables) -> None:
    second, first, missing = load_passages(corpus, "ada", ["c'2", "c1", "c3"])
    assert (second.chunk_id, first.chunk_id) == ("c'2", "c1")
    assert (first.path, first.source_id, first.url) == ("/posts/a.md", "a.md", "http://x/a")
    assert first.offsets == (0, 5)
    assert missing.document_id == ""
    assert load_passages(corpus, "ada", []) == ()


def test_an_answer_is_explained_from_the_remaining_tables(tables: Tables) -> None:
    [unknown] = load_passages(tables, "ada", ["c1"])
    assert (unknown.chunk_id, unknown.document_id) == ("c1", "")

    store_rows(tables, "embeddings", "ada", [CHUNK], key="chunk_id")
    [passage] = load_passages(tables, "ada", ["c1"])
    assert (passage.title, passage.text, passage.source_id) == ("It's a clock", "Words", "")


def test_the_tree_names_version_checkpoint_dataset_chunks_and_posts(corpus: Tables) -> None:
    explanation = Explanation(
        trace_id="t1",
        trace={"twin.author": "ada", "twin.version": "v1", "twin.route": "stable"},
        question="Why?",
        answer="Because.",
        model={"checkpoint": "abc", "folder": "/c/abc"},
        manifest={
            "base": {"name": "smol", "revision": "r" * 64},
            "tokens": 75_000,
            "epochs": 0.5,
            "code": "k" * 64,
            "dataset": {
                "asset": "instruction_dataset",
                "data_version": "dv1",
                "lance_version": 3,
                "tag": "abc",
            },
        },
        passages=load_passages(corpus, "ada", ["c1", "c3"]),
    )
    console = Console(file=io.StringIO(), width=200)
    console.print(build_explanation_tree(explanation))
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    for link in ("v1", "abc", "instruction_dataset version dv1", "c1", "d1", "/posts/a.md"):
        assert link in output
    assert "has since been edited or deleted" in output


def register_with_verdict(registry: Registry, checkpoint: str, outcome: Any) -> None:
    register_version(registry, "ada", checkpoint, folder=f"/c/{checkpoint}")
    claim = GateClaim("beats_base_model", outcome == "passed", 30.0, 31.0, "perplexity")
    claims = (claim, *make_stable_claims(registry, "ada"))
    registry.record_verdict(
        Verdict("ada", checkpoint, "1", outcome, claims, "2026-01-01T00:00:00+00:00")
    )


@pytest.fixture
def registry(home: Settings) -> Registry:
    write_author(
        home,
        Author(
            slug="ada", name="Ada", sources=("/posts",), consent="2020-01-01: the test's own author"
        ),
    )
    return open_registry(home)


def read_output(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def read_served_version(home: Settings) -> int:
    policy = json.loads(Path(home.policy_path).read_text())
    return policy["authors"]["ada"]["stable"]["version"]


def test_a_rollback_restores_the_former_version(
    home: Settings, registry: Registry, console: Console
) -> None:
    for number, checkpoint in enumerate(("one", "two"), start=1):
        register_with_verdict(registry, checkpoint, "passed")
        registry.move("ada", number, "stable", actor="gate", reason="passed", gate_version="1")
    assert read_served_version(home) == 2
    assert run_rollback(home, "", author="", reason="worse tone", console=console) == 0
    assert read_served_version(home) == 1
    assert "v1: retired → stable" in read_output(console)
    assert registry.moves("ada")[-1].reason == "worse tone"
    assert registry.moves("ada")[-1].actor.startswith("command:")
    assert run_versions(home, author="Ada", console=console) == 0
    assert "rolled back" in read_output(console)
    with pytest.raises(MoveRefusedError):
        run_rollback(home, "v1", author="ada", reason="again", console=console)
    with pytest.raises(TwinError, match="v2"):
        run_rollback(home, "two", author="ada", reason="again", console=console)


def test_a_lowered_floor_is_recorded_with_actor_and_reason(
    home: Settings, registry: Registry, console: Console
) -> None:
    register_with_verdict(registry, "one", "passed")
    with pytest.raises(TwinError, match="no reason"):
        run_lower_floor(home, author="", reason=" ", console=console)
    assert run_lower_floor(home, author="", reason="students read it", console=console) == 0
    assert "0 values so far no longer count. Each stream is certified again" in read_output(console)
    with registry.state.read_transaction() as connection:
        [row] = connection.execute(sa.select(loop_requests)).all()
    assert (row.author, row.after_sequence, row.reason) == ("ada", 0, "students read it")
    assert row.asked_by.startswith("command:")


def test_a_manually_released_version_is_marked_as_forced(
    home: Settings, registry: Registry, console: Console
) -> None:
    register_with_verdict(registry, "one", "failed")
    registry.move("ada", 1, "refused", actor="gate", reason="failed")
    assert run_release(home, "v1", author="ada", reason="I like it", console=console) == 0
    assert read_served_version(home) == 1
    assert registry.get("ada", 1).forced


def test_releasing_the_stable_version_says_what_changes_and_can_be_withdrawn(
    home: Settings, registry: Registry, console: Console
) -> None:
    register_with_verdict(registry, "one", "passed")
    registry.move("ada", 1, "stable", actor="gate", reason="it passed", gate_version="1")

    def release(**options: Any) -> str:
        console.file = io.StringIO()
        reason = "I have read fifty"
        assert run_release(home, "v1", author="ada", reason=reason, console=console, **options) == 0
        return read_output(console)

    said = release()
    assert "readers of twin/ada see no difference: it quotes" in said
    assert 'write answer = "voice" in authors/ada.toml' in said
    assert "to take it back: twin release v1 --withdraw --reason TEXT" in said
    write_author(home, replace(read_author(home, "ada"), answer="voice"))
    moves = registry.moves("ada")
    said = release()
    assert "nothing changes: v1 answers, and its prose is released by hand" in said
    assert "twin/ada answers in prose, of which the gate says" in said
    assert registry.moves("ada") == moves
    assert registry.prose_release(registry.get("ada", 1)).forced

    assert "the gate alone decides about the prose of v1 again" in release(is_withdrawn=True)
    assert not registry.prose_release(registry.get("ada", 1)).forced
    assert registry.moves("ada")[-1].reason == "I have read fifty"
    with pytest.raises(MoveRefusedError, match="nobody released its prose by hand"):
        release(is_withdrawn=True)
    release()
    assert registry.prose_release(registry.get("ada", 1)).forced, "it cannot be released again"


def test_an_author_without_versions_gets_a_message(
    home: Settings, registry: Registry, console: Console
) -> None:
    assert run_versions(home, author="", console=console) == 0
    assert "no model version yet" in read_output(console)


def test_versions_as_json_have_the_documented_shape(
    home: Settings, registry: Registry, console: Console
) -> None:
    assert run_versions(home, author="ada", console=console, as_json=True) == 0
    assert json.loads(read_output(console))["versions"] == []
    register_with_verdict(registry, "one", "passed")
    registry.move("ada", 1, "stable", actor="gate", reason="it passed", gate_version="1")
    register_with_verdict(registry, "two", "failed")
    console.file = io.StringIO()
    assert run_versions(home, author="Ada", console=console, as_json=True) == 0
    document = json.loads(read_output(console))
    assert shape(document) == shape(read_json_example("versions"))
    first, second = document["versions"]
    assert (document["author"], document["name"]) == ("ada", "Ada")
    assert (first["version"], first["state"], first["moves"][0]["reason"]) == (
        "v1",
        "stable",
        "it passed",
    )
    assert [item["verdict"]["outcome"] for item in (first, second)] == ["passed", "failed"]
    assert second["verdict"]["claims"][0]["passed"] is False
    assert second["moves"] == []
