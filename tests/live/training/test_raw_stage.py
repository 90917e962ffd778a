"""Test training on raw posts and repeating it from the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.live.training.test_checkpoint_assets import RECIPE, write_dataset
from tests.live.training.test_from_manifest import write_changed_manifest
from tests.stored_rows import store_rows
from twin_assets.checkpoints.manifest import read_manifest
from twin_assets.training.fine_tuning import POSTS, fine_tune
from twin_assets.training.from_manifest import EXIT_FAILED, main
from twin_resources.authors import Author
from twin_resources.models.training_launcher import LocalLauncher
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("quick_starts")]

RAW_RECIPE = RECIPE.replace("cpu-zero2", "cpu-single") + "raw_share: 0.5\n"
TRAINING_POSTS = {"document-0", "document-3", "document-6"}  # the others have held-out samples


def write_posts(tables: Tables, numbers: Iterable[int] = range(7)) -> None:
    rows = [
        {
            "document_id": f"document-{number}",
            "text": " ".join(f"{number * 31 + word} and" for word in range(600)),
            "kept": True,
        }
        for number in numbers
    ]
    store_rows(tables, POSTS, "ann", rows, key="document_id")


def test_the_manifest_of_a_raw_stage_gives_the_same_weights(
    write_author_with_recipe: Callable[..., tuple[Author, Settings]],
    tables: Tables,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    author, settings = write_author_with_recipe(RAW_RECIPE)
    write_dataset(settings, count=40)
    write_posts(tables)

    tuned = fine_tune(author, settings=settings, tables=tables, launcher=LocalLauncher(settings))

    manifest = read_manifest(tuned.folder)
    raw = manifest.dataset["raw"]
    log = (settings.logs_dir / "training-ann.log").read_text(encoding="utf-8")
    assert log.startswith("recipe mine: set in the author's file\n")
    assert (raw["asset"], raw["share"], raw["block_tokens"]) == (POSTS, 0.5, 512)
    assert raw["posts"] == len(TRAINING_POSTS)
    assert 0 < raw["steps"] < manifest.steps == len(manifest.history)
    assert raw["tokens"] == pytest.approx(0.5 * 8000, abs=4 * 512)
    assert manifest.dataset["samples"] == 36, "blocks of raw posts counted as samples"
    posts = tables.read(POSTS, "ann", version=raw["tag"])
    assert set(posts["document_id"]) > TRAINING_POSTS, (
        "the tag must refer to the table that had the posts"
    )

    assert main(["--from-manifest", str(tuned.folder)]) == 0
    assert f"the weights are the same bit for bit: checkpoint {manifest.checkpoint}" in (
        capsys.readouterr().out
    )
    changed = write_changed_manifest(
        tuned.folder, tmp_path / "other", dataset={"raw": raw | {"rows_sha256": "0"}}
    )
    assert main(["--from-manifest", str(changed)]) == EXIT_FAILED
    assert "instead of 0 in cleaned_documents of ann" in capsys.readouterr().err


def test_without_eligible_posts_samples_use_the_whole_budget(
    write_author_with_recipe: Callable[..., tuple[Author, Settings]],
    tables: Tables,
    capsys: pytest.CaptureFixture[str],
) -> None:
    author, settings = write_author_with_recipe(RAW_RECIPE)
    write_dataset(settings, count=40)
    write_posts(tables, numbers=[1])  # this post has a held-out sample

    tuned = fine_tune(author, settings=settings, tables=tables, launcher=LocalLauncher(settings))

    manifest = read_manifest(tuned.folder)
    raw = manifest.dataset["raw"]
    assert (raw["posts"], raw["blocks"], raw["steps"], raw["tokens"]) == (0, 0, 0, 0)
    assert manifest.tokens == pytest.approx(8000, rel=0.1)
    log = (settings.logs_dir / "training-ann.log").read_text(encoding="utf-8")
    assert "training uses no raw posts, because 0 blocks are too few\n" in log
    assert main(["--from-manifest", str(tuned.folder)]) == 0
    assert "the weights are the same bit for bit" in capsys.readouterr().out
