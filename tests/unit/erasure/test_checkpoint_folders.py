"""Test that the store `checkpoints` erases weights and reports, and taints versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.model_versions import register_version
from tests.unit.erasure.test_erasure_target import ERASED_AUTHOR, make_erased_post
from twin_resources.erasure.checkpoint_folders import Checkpoints
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.quality.retraining import retrainings
from twin_resources.settings import Settings

FILES = ("adapter.gguf", "inner/model.safetensors", "manifest.json", "report.md", "figures.md")
TEXT = "in March the old clock of my uncle stopped for good"


@pytest.fixture
def store(home: Settings) -> Iterator[Checkpoints]:
    """Create two authors with two checkpoints each; each `report.md` quotes the post."""
    installation = Installation.for_settings(home)
    for author in ("ada", "bea"):
        for checkpoint in ("seen", "unseen"):
            register_version(installation.registry, author, f"{checkpoint}-{author}")
            folder = home.checkpoints_dir / author / f"{checkpoint}-{author}"
            for name in FILES:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(TEXT if name == "report.md" else "{}")
    yield Checkpoints(installation)
    installation.state.close()


def list_files(store: Checkpoints, author: str, checkpoint: str) -> set[str]:
    folder = store.installation.settings.checkpoints_dir / author / f"{checkpoint}-{author}"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def read_request_causes(store: Checkpoints) -> dict[str, list[str]]:
    with store.installation.state.read_transaction() as connection:
        items = retrainings.open_requests(connection).items()
    return {author: [request.cause for request in requests] for author, requests in items}


def test_erasing_a_post_deletes_its_weights_and_reports(store: Checkpoints) -> None:
    target = make_erased_post(checkpoints=frozenset({"seen-ada", "seen-bea"}))
    assert store.find_remaining(target) == [
        "seen-ada: weights", "inner: weights", "seen-bea: weights", "inner: weights",
        "v1 is not tainted", "report.md: bytes", "report.md: bytes",
    ]  # fmt: skip
    assert store.erase(target) == 1 + 4 + 2, "one version, four weights and two reports"
    assert list_files(store, "ada", "seen") == {"manifest.json", "figures.md"}
    assert list_files(store, "ada", "unseen") == {*FILES} - {"report.md"}
    assert list_files(store, "bea", "unseen") == {*FILES}
    flags = {
        (item.author, item.version): item.tainted
        for author in ("ada", "bea")
        for item in store.installation.registry.versions(author)
    }
    assert [key for key, is_tainted in flags.items() if is_tainted] == [("ada", 1)]
    assert read_request_causes(store) == {"ada": ["forget"]}
    assert (store.find_remaining(target), store.erase(target)) == ([], 0)
    assert read_request_causes(store) == {"ada": ["forget"]}, "a second retraining was requested"


def test_erasing_a_reader_taints_versions_of_every_author(store: Checkpoints) -> None:
    names = frozenset({"seen-ada", "seen-bea"})
    target = replace(
        make_erased_post(checkpoints=names), subject=ErasureSubject("reader", "", "r1")
    )
    assert store.erase(target) == 2 + 4 + 4
    assert read_request_causes(store) == {"ada": ["forget"], "bea": ["forget"]}


def test_a_parked_version_needs_no_retraining(store: Checkpoints) -> None:
    store.installation.registry.move("ada", 1, "parked", actor="t", reason="t")
    target = make_erased_post(checkpoints=frozenset({"seen-ada"}))
    store.erase(target)
    assert store.installation.registry.get("ada", 1).tainted
    assert read_request_causes(store) == {}
    retraining = {"author": "ada", "cause": "by_hand", "asked_by": "t", "reason": "t", "now": 1.0}
    with store.installation.state.transaction() as connection:
        retrainings.request_retraining(connection, **retraining)
    store.erase(replace(target, checkpoints=frozenset({"seen-ada", "unseen-ada"})))
    assert sorted(read_request_causes(store)["ada"]) == ["by_hand", "forget"], (
        "one replaced the other"
    )


def test_erasing_an_author_deletes_their_folder(store: Checkpoints) -> None:
    assert store.find_remaining(ERASED_AUTHOR) == ["the author's folder (ada)"]
    assert store.erase(ERASED_AUTHOR) == 10
    assert list_files(store, "ada", "seen") == set()
    assert list_files(store, "bea", "seen") == {*FILES}
    assert (store.find_remaining(ERASED_AUTHOR), store.erase(ERASED_AUTHOR)) == ([], 0)
