"""The store `checkpoints` erases weights and reports, and taints versions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.model_versions import register_version
from tests.unit.erasure.test_erasure_target import ERASED_AUTHOR, erased_post
from twin_resources.erasure.checkpoint_folders import Checkpoints
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.quality.retraining import retrainings
from twin_resources.settings import Settings

FILES = ("adapter.gguf", "inner/model.safetensors", "manifest.json", "report.md", "figures.md")
TEXT = "in March the old clock of my uncle stopped for good"


@pytest.fixture
def store(home: Settings) -> Iterator[Checkpoints]:
    """Two authors with two checkpoints each; one report of each quotes the post."""
    instance = Installation.for_settings(home)
    for author in ("ada", "bea"):
        for checkpoint in ("seen", "unseen"):
            register_version(instance.registry, author, f"{checkpoint}-{author}")
            folder = home.checkpoints_dir / author / f"{checkpoint}-{author}"
            for name in FILES:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(TEXT if name == "report.md" else "{}")
    yield Checkpoints(instance)
    instance.state.close()


def remaining_files(store: Checkpoints, author: str, checkpoint: str) -> set[str]:
    folder = store.instance.settings.checkpoints_dir / author / f"{checkpoint}-{author}"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def causes(store: Checkpoints) -> dict[str, list[str]]:
    with store.instance.state.read_transaction() as connection:
        waiting = retrainings.open_requests(connection)
    return {author: [request.cause for request in requests] for author, requests in waiting.items()}


def test_erasing_a_post_deletes_its_weights_and_reports(store: Checkpoints) -> None:
    target = erased_post(checkpoints=frozenset({"seen-ada", "seen-bea"}))
    assert store.find_remaining(target) == [
        "seen-ada: weights", "inner: weights", "seen-bea: weights", "inner: weights",
        "v1 is not tainted", "report.md: bytes", "report.md: bytes",
    ]  # fmt: skip
    assert store.erase(target) == 1 + 4 + 2, "one version, four weights and two reports"
    assert remaining_files(store, "ada", "seen") == {"manifest.json", "figures.md"}
    assert remaining_files(store, "ada", "unseen") == {*FILES} - {"report.md"}
    assert remaining_files(store, "bea", "unseen") == {*FILES}
    flags = {
        (item.author, item.version): item.tainted
        for author in ("ada", "bea")
        for item in store.instance.registry.versions(author)
    }
    assert [key for key, is_tainted in flags.items() if is_tainted] == [("ada", 1)]
    assert causes(store) == {"ada": ["forget"]}
    assert (store.find_remaining(target), store.erase(target)) == ([], 0)
    assert causes(store) == {"ada": ["forget"]}, "a second retraining"


def test_erasing_a_reader_taints_versions_of_every_author(store: Checkpoints) -> None:
    names = frozenset({"seen-ada", "seen-bea"})
    target = replace(erased_post(checkpoints=names), subject=ErasureSubject("reader", "", "r1"))
    assert store.erase(target) == 2 + 4 + 4
    assert causes(store) == {"ada": ["forget"], "bea": ["forget"]}


def test_a_parked_version_needs_no_retraining(store: Checkpoints) -> None:
    store.instance.registry.move("ada", 1, "parked", actor="t", reason="t")
    target = erased_post(checkpoints=frozenset({"seen-ada"}))
    store.erase(target)
    assert store.instance.registry.get("ada", 1).tainted
    assert causes(store) == {}
    retraining = {"author": "ada", "cause": "by_hand", "asked_by": "t", "reason": "t", "now": 1.0}
    with store.instance.state.transaction() as connection:
        retrainings.request_retraining(connection, **retraining)
    store.erase(replace(target, checkpoints=frozenset({"seen-ada", "unseen-ada"})))
    assert sorted(causes(store)["ada"]) == ["by_hand", "forget"], "one replaced the other"


def test_erasing_an_author_deletes_their_folder(store: Checkpoints) -> None:
    assert store.find_remaining(ERASED_AUTHOR) == ["the author's folder (ada)"]
    assert store.erase(ERASED_AUTHOR) == 10
    assert remaining_files(store, "ada", "seen") == set()
    assert remaining_files(store, "bea", "seen") == {*FILES}
    assert (store.find_remaining(ERASED_AUTHOR), store.erase(ERASED_AUTHOR)) == ([], 0)
