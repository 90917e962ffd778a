"""Test which posts are raw training data, and that erasure finds checkpoints trained on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.stored_rows import store_rows
from twin_assets.training.fine_tuning import DATASET, POSTS, read_training_posts
from twin_resources.erasure.checkpoint_folders import find_trained_checkpoints
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.text_fingerprints import FingerprintCollector
from twin_resources.settings import Settings

SAMPLES = (  # the split and the post of each sample
    ("train", "both"),
    ("train", "both"),
    ("train", "like a held-out one"),
    ("left_out", "like a held-out one"),
    ("held_out", "held out"),
    ("train", "dropped since"),
    ("general", "general"),
)


def build_text(post: str) -> str:
    return f"what is written in the post that is {post} from its first word to the last"


@pytest.fixture
def installation(home: Settings) -> Iterator[Installation]:
    """Write an author's dataset and posts, each with the tag of a training run."""
    instance = Installation.for_settings(home)
    samples = [
        {"sample_id": f"s{number}", "document_id": post, "split": split}
        for number, (split, post) in enumerate(SAMPLES)
    ]
    posts = [
        {"document_id": post, "text": build_text(post), "kept": post != "dropped since"}
        for post in ("both", "like a held-out one", "held out", "dropped since", "without sample")
    ]
    store_rows(instance.tables, DATASET, "ann", samples, key="sample_id")
    store_rows(instance.tables, POSTS, "ann", posts, key="document_id")
    for asset in (DATASET, POSTS):
        instance.tables.tag(asset, "ann", "training-1")
    yield instance
    instance.state.close()


def test_only_posts_with_all_samples_in_training_are_used(installation: Installation) -> None:
    versions: dict[str, Any] = {"dataset_version": "training-1", "version": "training-1"}
    frame = read_training_posts("ann", installation.tables, **versions)
    assert frame.rows() == [("both", "both", build_text("both"))]
    assert frame.columns == ["sample_id", "document_id", "text"]


def test_the_frame_is_empty_if_no_post_is_eligible(installation: Installation) -> None:
    rows = [{"sample_id": "s0", "document_id": "held out", "split": "held_out"}]
    store_rows(installation.tables, DATASET, "ann", rows, key="sample_id")
    newest_version = installation.tables.lance_version(DATASET, "ann")
    assert newest_version is not None
    versions: dict[str, Any] = {"dataset_version": newest_version, "version": "training-1"}
    frame = read_training_posts("ann", installation.tables, **versions)
    assert (frame.height, frame.columns) == (0, ["sample_id", "document_id", "text"])


def write_manifest(
    installation: Installation, *, raw: bool, tag: str = "training-1", samples: str = "training-1"
) -> None:
    folder = installation.settings.checkpoints_dir / "ann" / "c1"
    folder.mkdir(parents=True, exist_ok=True)
    dataset: dict[str, Any] = {"asset": DATASET, "tag": samples}
    if raw:
        dataset["raw"] = {"asset": POSTS, "tag": tag}
    (folder / "manifest.json").write_text(json.dumps({"dataset": dataset}), encoding="utf-8")


def test_erasure_finds_checkpoints_trained_on_raw_posts(installation: Installation) -> None:
    collector = FingerprintCollector()
    collector.add(build_text("both"))
    target = ErasureTarget(
        ErasureSubject("post", "ann", "elsewhere"), ids=frozenset({"elsewhere"}),
        fingerprints=collector.fingerprints(),
    )  # fmt: skip
    write_manifest(installation, raw=False)
    assert find_trained_checkpoints(installation, "ann", target) == set()
    write_manifest(installation, raw=True)
    assert find_trained_checkpoints(installation, "ann", target) == {"c1"}
    write_manifest(installation, raw=True, tag="taken off")
    other_target = replace(target, fingerprints=FingerprintCollector().fingerprints())
    assert find_trained_checkpoints(installation, "ann", other_target) == {"c1"}, (
        "a checkpoint of unknown posts was not found"
    )
    write_manifest(installation, raw=False, samples="taken off")
    assert find_trained_checkpoints(installation, "ann", other_target) == {"c1"}, (
        "a checkpoint of unknown samples was not found"
    )
    write_manifest(installation, raw=True)
    held_out = ErasureTarget(ErasureSubject("post", "ann", "held out"), ids=frozenset({"held out"}))
    assert find_trained_checkpoints(installation, "ann", held_out) == set(), (
        "a checkpoint not trained on the post was found"
    )
    named_target = ErasureTarget(ErasureSubject("post", "ann", "both"), ids=frozenset({"both"}))
    assert find_trained_checkpoints(installation, "ann", named_target) == {"c1"}
