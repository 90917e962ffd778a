"""Test repeating a training run from its manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live.training.test_checkpoint_assets import RECIPE, write_dataset
from twin_assets.checkpoints.manifest import MANIFEST_FILE, read_manifest
from twin_assets.training.fine_tuning import fine_tune
from twin_assets.training.from_manifest import EXIT_DIFFERENT_WEIGHTS, EXIT_FAILED, main
from twin_resources.authors import Author
from twin_resources.models.training_launcher import LocalLauncher
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("quick_starts")]


@pytest.fixture
def checkpoint(
    write_author_with_recipe: Callable[..., tuple[Author, Settings]],
    tables: Tables,
    tiny_model: Path,
    tmp_path: Path,
) -> Path:
    """Return a published checkpoint whose author's dataset and recipe have changed since."""
    base = shutil.copytree(tiny_model, tmp_path / "base")
    author, settings = write_author_with_recipe(RECIPE, single_rank=False, base=base)
    write_dataset(settings, count=40)
    trained = fine_tune(author, settings=settings, tables=tables, launcher=LocalLauncher(settings))
    Path(author.recipe).unlink()
    write_dataset(settings, count=50)
    return trained.folder


def write_changed_manifest(checkpoint: Path, folder: Path, **changes: Any) -> Path:
    """Write the manifest with other values, without weights."""
    document = json.loads((checkpoint / MANIFEST_FILE).read_text(encoding="utf-8"))
    for name, value in changes.items():
        document[name] = document[name] | value if isinstance(value, dict) else value
    folder.mkdir()
    (folder / MANIFEST_FILE).write_text(json.dumps(document), encoding="utf-8")
    return folder


def test_the_manifest_gives_the_same_weights(
    checkpoint: Path, home: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_manifest(checkpoint)
    files_before = sorted(home.checkpoints_dir.rglob("*"))

    assert main(["--from-manifest", str(checkpoint / MANIFEST_FILE)]) == 0

    output = capsys.readouterr().out
    assert f"the weights are the same bit for bit: checkpoint {manifest.checkpoint}" in output
    assert output.count("progress {") == manifest.steps, "the command trained nothing"
    assert "changed since that run" not in output
    assert sorted(home.checkpoints_dir.rglob("*")) == files_before
    assert not list((home.work_dir / "training").glob("*"))

    changed_manifest = write_changed_manifest(
        checkpoint, tmp_path / "seed", recipe={"seed": 2}, code="of another release"
    )
    work = tmp_path / "work"
    assert (
        main(["--from-manifest", str(changed_manifest), "--work", str(work)])
        == EXIT_DIFFERENT_WEIGHTS
    )
    output = capsys.readouterr().out
    assert "changed since that run: the training code has changed" in output
    assert f"but the manifest has {manifest.checkpoint}" in output
    assert (work / "output" / "adapter" / "adapter_model.safetensors").is_file()

    # data that differs from the manifest is an error
    tampered = write_changed_manifest(checkpoint, tmp_path / "rows", dataset={"rows_sha256": "0"})
    assert main(["--from-manifest", str(tampered)]) == EXIT_FAILED
    assert "instead of 0 in instruction_dataset of ann" in capsys.readouterr().err
    base = Path(manifest.base["folder"])
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    assert main(["--from-manifest", str(checkpoint)]) == EXIT_FAILED
    assert f"another base model in {base}" in capsys.readouterr().err
