"""Test that no file contains a planted word after its post, reader or author is forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.graph.erasure.conftest import AUTHOR, POST_ID, UsedHome, run_assets
from tests.graph.erasure.planted_words import POST_WORD, QUESTION_WORD, find_files_with
from twin_assets.checkpoints.manifest import write_pointer
from twin_resources.erasure import journal
from twin_resources.erasure.certificate import read_certificate
from twin_resources.erasure.erasing import run_erasure
from twin_resources.erasure.erasure_target import ErasureSubject


def forget(used_home: UsedHome, subject: ErasureSubject, *, key_hash: str = "") -> Path:
    installation = used_home.installation
    number = journal.open_request(installation.state, subject, asked_by="test", key_hash=key_hash)
    result = run_erasure(installation, number, dagster=used_home.records(installation))
    installation.state.close()
    return result


def test_the_words_are_in_every_store_before_erasure(used_home: UsedHome) -> None:
    """Without this, the other tests would pass on a home that never contained the words."""
    matching_paths = " ".join(find_files_with(used_home.settings.home, POST_WORD))
    for name in (
        "raw_posts.lance",
        "cleaned_documents.lance",
        "embeddings.lance",
        "instruction_drafts.lance",
        "instruction_dataset.lance",
        "traces.sqlite",
        "host/outbox.sqlite",
        "samples.json",
        "dagster/history/runs/",
        "compute_logs",
    ):
        assert name in matching_paths, matching_paths
    paths = " ".join(find_files_with(used_home.settings.home, QUESTION_WORD))
    for name in (
        "traces.sqlite",
        "state.sqlite",
        "host/outbox.sqlite",
        "interactions",
        "gateway.log",
    ):
        assert name in paths, paths


def test_a_forgotten_post_is_in_no_file(used_home: UsedHome) -> None:
    result = forget(used_home, ErasureSubject("post", AUTHOR, POST_ID))
    assert find_files_with(used_home.settings.home, POST_WORD) == []
    assert find_files_with(used_home.settings.home, "forgotten-walk") == []
    installation = used_home.installation
    stable = installation.registry.stable_version(AUTHOR)
    assert stable is not None
    assert stable.tainted
    assert (
        json.loads(used_home.settings.policy_path.read_text())["authors"][AUTHOR].get("stable")
        is None
    )
    rows = installation.tables.read("raw_posts", AUTHOR)
    assert rows.height == 6, "other posts were erased"
    document = read_certificate(result)
    assert document["tainted"] == [used_home.checkpoint]
    assert document["subject"] == ErasureSubject("post", AUTHOR, POST_ID).digest
    assert POST_ID not in result.read_text()


@pytest.mark.long
def test_the_next_import_does_not_restore_the_post(used_home: UsedHome) -> None:
    forget(used_home, ErasureSubject("post", AUTHOR, POST_ID))
    with used_home.dagster() as dagster:
        assert run_assets(dagster, "raw_posts", "cleaned_documents").success
    assert find_files_with(used_home.settings.home, POST_WORD) == []
    assert find_files_with(used_home.settings.home, "forgotten-walk") == []


def test_a_forgotten_reader_is_in_no_file(used_home: UsedHome) -> None:
    import hashlib

    key_hash = hashlib.sha256(used_home.reader_key.encode()).hexdigest()
    forget(used_home, ErasureSubject("reader", "", used_home.reader), key_hash=key_hash)
    home = used_home.settings.home
    assert find_files_with(home, QUESTION_WORD) == []
    assert find_files_with(home, used_home.reader) == []
    assert find_files_with(home, key_hash) == []
    assert find_files_with(home, POST_WORD) != [], "a post was erased"
    assert "stopped" in (used_home.settings.logs_dir / "gateway.log").read_text()


def test_a_forgotten_author_is_in_no_file(used_home: UsedHome) -> None:
    home = used_home.settings.home
    adapters = home / "reference_adapters"  # earlier releases kept a file per author there
    adapters.mkdir()
    for author in (AUTHOR, "bea"):
        write_pointer(adapters, author, {"checkpoint": "c1", "folder": str(adapters / "c1")})
    result = forget(used_home, ErasureSubject("author", AUTHOR, AUTHOR))
    assert [path.name for path in adapters.iterdir()] == ["bea.json"]
    assert find_files_with(home, POST_WORD) == []
    assert find_files_with(home, QUESTION_WORD) == []
    assert find_files_with(home, "Ada Wright") == []
    assert find_files_with(home, "twin/ada") == []
    assert not (home / "tables" / AUTHOR).exists()
    assert not (home / "checkpoints" / AUTHOR).exists()
    with used_home.dagster() as dagster:
        assert dagster.get_dynamic_partitions("authors") == ["bea"]
        assert dagster.get_runs() == []
    assert read_certificate(result)["kind"] == "author"
