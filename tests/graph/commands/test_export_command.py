"""Test which version `twin export` selects, which versions it refuses, and what it writes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands.outcome import open_registry
from twin_cli.commands.versions import run_export

from tests.model_versions import register_version
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings


@pytest.fixture
def registry(home: Settings) -> Registry:
    write_author(home, Author(slug="ada", name="Ada", sources=("/posts",)))
    return open_registry(home)


def register(registry: Registry, folder: Path) -> None:
    register_version(registry, "ada", folder.name, folder=str(folder))


def export(home: Settings, version: str, output_folder: Path) -> int:
    return run_export(
        home,
        version,
        author="ada",
        export_format="adapter",
        output_folder=output_folder,
        dtype="float16",
        as_json=False,
        console=Console(file=io.StringIO(), width=200),
    )


def test_without_a_stable_version_the_version_must_be_named(
    home: Settings, registry: Registry, tmp_path: Path
) -> None:
    register(registry, tmp_path / "one")

    with pytest.raises(TwinError, match="the base model with retrieval answers"):
        export(home, "", tmp_path / "out")


def test_a_version_trained_on_a_forgotten_post_is_not_exported(
    home: Settings, registry: Registry, tmp_path: Path
) -> None:
    register(registry, tmp_path / "one")
    registry.taint("ada", 1, actor="forget", reason="a post")

    with pytest.raises(TwinError, match="forgotten"):
        export(home, "v1", tmp_path / "out")

    assert not (tmp_path / "out").exists()


def write_checkpoint(folder: Path, base: Path) -> Path:
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    manifest = {
        "schema": 1, "author": "ada", "checkpoint": "one", "training": "t", "stage": "sft",
        "base": {"name": "smol", "folder": str(base), "revision": "r"},
        "template": "t", "dataset": {}, "recipe": {}, "launch": {}, "code": "c", "versions": {},
        "tokens": 1, "epochs": 1.0, "steps": 1, "metrics": {}, "history": [], "created_at": "",
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_a_missing_base_model_is_reported(
    home: Settings, registry: Registry, tmp_path: Path
) -> None:
    register(registry, write_checkpoint(tmp_path / "one", tmp_path / "gone"))

    with pytest.raises(TwinError, match="its base model smol is not at") as error:
        export(home, "v1", tmp_path / "out")

    assert "twin up" in error.value.next_step
    assert not (tmp_path / "out").exists()


def test_the_exported_adapter_has_the_checkpoints_files(
    home: Settings, registry: Registry, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}", encoding="utf-8")
    register(registry, write_checkpoint(tmp_path / "one", base))

    assert export(home, "v1", tmp_path / "out") == 0

    assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == b"weights"
    record = json.loads((tmp_path / "out" / "export.json").read_text(encoding="utf-8"))
    assert record["checkpoint"] == "one"
    with pytest.raises(TwinError, match="exists"):
        export(home, "v1", tmp_path / "out")
