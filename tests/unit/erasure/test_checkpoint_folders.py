"""The store `checkpoints`: which weights and reports it erases, which versions it taints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.registered import register_version
from tests.unit.erasure.test_erasure_target import GONE_AUTHOR, gone_post
from twin_resources.erasure.checkpoint_folders import Checkpoints
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.quality.retraining import retrainings
from twin_resources.settings import Settings

FILES = ("adapter.gguf", "inner/model.safetensors", "manifest.json", "report.md", "figures.md")
TEXT = "in March the old clock of my uncle stopped for good"


@pytest.fixture
def place(home: Settings) -> Iterator[Checkpoints]:
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


def left(place: Checkpoints, author: str, checkpoint: str) -> set[str]:
    folder = place.instance.settings.checkpoints_dir / author / f"{checkpoint}-{author}"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def causes(place: Checkpoints) -> dict[str, list[str]]:
    with place.instance.state.read_transaction() as connection:
        waiting = retrainings.open_requests(connection)
    return {author: [request.cause for request in requests] for author, requests in waiting.items()}


def test_of_a_post_the_weights_that_saw_it_go_and_its_reports(place: Checkpoints) -> None:
    target = gone_post(checkpoints=frozenset({"seen-ada", "seen-bea"}))
    assert place.find_remaining(target) == [
        "seen-ada: weights", "inner: weights", "seen-bea: weights", "inner: weights",
        "v1 is not tainted", "report.md: bytes", "report.md: bytes",
    ]  # fmt: skip
    assert place.erase(target) == 1 + 4 + 2, "a version, weights wherever they lie, ada's reports"
    assert left(place, "ada", "seen") == {"manifest.json", "figures.md"}
    assert left(place, "ada", "unseen") == {*FILES} - {"report.md"}
    assert left(place, "bea", "unseen") == {*FILES}
    flags = {
        (item.author, item.version): item.tainted
        for author in ("ada", "bea")
        for item in place.instance.registry.versions(author)
    }
    assert [key for key, is_tainted in flags.items() if is_tainted] == [("ada", 1)]
    assert causes(place) == {"ada": ["forget"]}
    assert (place.find_remaining(target), place.erase(target)) == ([], 0)
    assert causes(place) == {"ada": ["forget"]}, "once"


def test_of_a_reader_every_authors_versions_are_tainted(place: Checkpoints) -> None:
    checkpoints = frozenset({"seen-ada", "seen-bea"})
    target = replace(gone_post(checkpoints=checkpoints), subject=ErasureSubject("reader", "", "r1"))
    assert place.erase(target) == 2 + 4 + 4
    assert causes(place) == {"ada": ["forget"], "bea": ["forget"]}


def test_for_what_answers_no_longer_nothing_is_trained(place: Checkpoints) -> None:
    place.instance.registry.move("ada", 1, "parked", actor="t", reason="t")
    target = gone_post(checkpoints=frozenset({"seen-ada"}))
    place.erase(target)
    assert place.instance.registry.get("ada", 1).tainted
    assert causes(place) == {}
    retraining = {"author": "ada", "cause": "by_hand", "asked_by": "t", "reason": "t", "now": 1.0}
    with place.instance.state.transaction() as connection:
        retrainings.request_retraining(connection, **retraining)
    place.erase(replace(target, checkpoints=frozenset({"seen-ada", "unseen-ada"})))
    assert sorted(causes(place)["ada"]) == ["by_hand", "forget"], "another request is not this one"


def test_of_an_author_the_whole_folder_goes(place: Checkpoints) -> None:
    assert place.find_remaining(GONE_AUTHOR) == ["the author's folder (ada)"]
    assert place.erase(GONE_AUTHOR) == 10
    assert left(place, "ada", "seen") == set()
    assert left(place, "bea", "seen") == {*FILES}
    assert (place.find_remaining(GONE_AUTHOR), place.erase(GONE_AUTHOR)) == ([], 0)
