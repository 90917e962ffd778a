"""Test that a job is built from a manifest, and that changed inputs are an error."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.unit.training.test_manifest import make_manifest, write_adapter
from twin_assets.checkpoints.job import hash_rows
from twin_assets.checkpoints.manifest import Manifest, compute_checkpoint_hash
from twin_assets.checkpoints.recipe import load_launch, load_recipe
from twin_assets.training import fine_tuning
from twin_assets.training.from_manifest import (
    EXIT_FAILED,
    clear_earlier_job,
    job_from_manifest,
    launch_from_manifest,
    list_environment_differences,
    main,
    read_raw_posts,
)
from twin_assets.training.publishing import TRAINING_CODE_FILES, training_code_hash
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.storage.weights.weights import compute_revision

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def make_training_manifest(base: Path, **changes: Any) -> Manifest:
    launch, recipe = load_launch("cpu-zero2").model_dump(), load_recipe("smollm2-135m-cpu")
    return replace(
        make_manifest("c" * 64),
        base={
            "name": "tiny",
            "revision": compute_revision(base),
            "folder": str(base),
            "gguf": None,
        },
        recipe=recipe.model_dump(),
        launch={"ranks": 4, "precision": "bf16", **launch},
        effective={"threads_per_rank": 3, "samples_per_step": recipe.samples_per_step},
        **changes,
    )


def test_the_job_has_the_recorded_precision_threads_and_ranks(base: Path, tmp_path: Path) -> None:
    job = job_from_manifest(make_training_manifest(base), tmp_path, work=tmp_path / "work")

    assert job.ranks == 4
    assert job.effective_launch.mixed_precision == "bf16"
    assert job.effective_launch.threads_per_rank == 3
    assert job.effective_launch.deepspeed == load_launch("cpu-zero2").deepspeed
    assert (job.stage, job.initial_adapter) == ("sft", None)
    assert job.recipe == load_recipe("smollm2-135m-cpu")


def test_the_job_has_the_recorded_samples_per_step(base: Path, tmp_path: Path) -> None:
    manifest = make_training_manifest(base)
    manifest.effective["samples_per_step"] = 2
    job = job_from_manifest(manifest, tmp_path, work=tmp_path / "work")
    assert job.recipe.samples_per_step == 2


def test_posts_that_differ_from_the_manifest_are_an_error(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"sample_id": ["d"], "document_id": ["d"]}
    posts, edited = (pl.DataFrame(columns | {"text": [text]}) for text in ("as it was", "edited"))
    posts_hash = hash_rows(posts.iter_rows(named=True))
    raw = {"rows_sha256": posts_hash, "asset": "cleaned_documents", "tag": "t"}
    manifest = make_training_manifest(base, stage="sft", dataset={"tag": "t", "raw": raw})
    tables: Any = None
    stored_posts = iter([posts, edited])
    monkeypatch.setattr(fine_tuning, "read_training_posts", lambda *_, **__: next(stored_posts))
    posts_read = read_raw_posts(manifest, tables)
    assert posts_read is not None
    assert posts_read.equals(posts)
    with pytest.raises(TwinError, match=f"instead of {posts_hash[:12]} in cleaned_documents"):
        read_raw_posts(manifest, tables)
    assert read_raw_posts(make_training_manifest(base), tables) is None


def test_only_the_folder_of_a_training_job_is_removed(tmp_path: Path) -> None:
    work = tmp_path / "thesis"
    (work / "output").mkdir(parents=True)
    (work / "chapter-1.md").write_text("years of it")
    with pytest.raises(TwinError, match="new or an empty folder"):
        clear_earlier_job(work)
    assert sorted(path.name for path in work.iterdir()) == ["chapter-1.md", "output"]
    clear_earlier_job(tmp_path / "none yet")
    (work / "job.json").write_text("{}")
    clear_earlier_job(work)
    assert not work.exists()


def test_a_manifest_without_threads_uses_auto() -> None:
    launch = {"ranks": 2, "precision": "fp32", **load_launch("cpu-ddp").model_dump()}
    assert launch_from_manifest(launch, {}).threads_per_rank == "auto"


def test_another_base_model_is_an_error(base: Path, tmp_path: Path) -> None:
    manifest = make_training_manifest(base)
    (base / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(TwinError, match="another base model"):
        job_from_manifest(manifest, tmp_path, work=tmp_path)
    with pytest.raises(TwinError, match="no base model"):
        job_from_manifest(manifest, tmp_path, work=tmp_path, base=tmp_path / "none")


def test_preference_tuning_starts_only_from_its_parent(base: Path, tmp_path: Path) -> None:
    adapter_folder = write_adapter(tmp_path / "made")
    revision = compute_revision(base)
    template = make_training_manifest(base).template
    parent = compute_checkpoint_hash(adapter_folder, base_revision=revision, template=template)
    checkpoints = tmp_path / "checkpoints"
    parent_adapter = checkpoints / parent / "adapter"
    parent_adapter.parent.mkdir(parents=True)
    adapter_folder.rename(parent_adapter)
    manifest = make_training_manifest(base, stage="dpo", preferences={"parent": parent})

    job = job_from_manifest(manifest, checkpoints / "mine", work=tmp_path)
    assert job.stage == "dpo"
    assert job.initial_adapter == parent_adapter.resolve()
    assert job.recipe.learning_rate == job.recipe.required_preference.learning_rate

    shutil.rmtree(parent_adapter)
    write_adapter(tmp_path / "other", value=2.0).rename(parent_adapter)
    with pytest.raises(TwinError, match="but the parent is"):
        job_from_manifest(manifest, checkpoints / "mine", work=tmp_path)
    with pytest.raises(TwinError, match="no supervised checkpoint"):
        job_from_manifest(manifest, tmp_path / "elsewhere" / "mine", work=tmp_path)


def test_differences_from_the_original_environment_are_listed(base: Path) -> None:
    assert (
        list_environment_differences(
            replace(make_training_manifest(base), code=training_code_hash())
        )
        == ()
    )
    differences_found = list_environment_differences(
        make_training_manifest(base, versions={"torch": "0.1", "no-such-package": "1"})
    )
    assert differences_found[0] == "the training code has changed"
    assert differences_found[1].startswith("torch was 0.1 and is now ")
    assert differences_found[2] == "no-such-package was 1 and is now missing"


def test_comments_do_not_change_the_code_hash(tmp_path: Path) -> None:
    for name in TRAINING_CODE_FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / "twin_assets" / name, tmp_path / name)
    assert training_code_hash(tmp_path) == training_code_hash()
    losses = tmp_path / "training" / "losses.py"
    source = losses.read_text(encoding="utf-8")
    words = source.replace('    """', '    """Other words. ', 1)
    losses.write_text(f"# a comment\n{words}", encoding="utf-8")
    assert training_code_hash(tmp_path) == training_code_hash()
    losses.write_text(f"{source}\nMORE = 1\n", encoding="utf-8")
    assert training_code_hash(tmp_path) != training_code_hash()


def test_the_command_is_installed() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, function = project["project"]["scripts"]["twin-train"].partition(":")
    assert getattr(import_module(module), function) is main


def test_a_missing_manifest_is_an_error(
    home: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from-manifest", str(tmp_path / "manifest.json")]) == EXIT_FAILED
    assert "no manifest.json" in capsys.readouterr().err
    assert not list(home.home.iterdir())


def test_the_hash_of_rows_depends_only_on_their_content() -> None:
    rows = [{"sample_id": name, "messages": [{"role": "user", "content": name}]} for name in "ab"]
    assert hash_rows(rows) == hash_rows(list(reversed(rows)))
    changed_rows: list[dict[str, Any]] = json.loads(json.dumps(rows))
    changed_rows[1]["messages"][0]["content"] = "c"
    assert hash_rows(changed_rows) != hash_rows(rows)
    assert hash_rows(rows[:1]) != hash_rows(rows)
