"""Test the checkpoint assets without training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.materialization import create_instance, materialize_assets
from tests.model_versions import build_manifest
from twin_assets.checkpoints import manifest as manifests
from twin_assets.training.checkpoints import fine_tuned_checkpoint, preference_tuned_checkpoint
from twin_resources import dagster_resources
from twin_resources.authors import Author, write_author
from twin_resources.settings import Settings


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with create_instance("ann") as instance:
        yield instance


def materialize(
    asset: dg.AssetsDefinition, instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    return materialize_assets([asset], "ann", instance, raise_on_error=False)


def last_failure_message(result: dg.ExecuteInProcessResult) -> str:
    """Return the message of the failed step's last attempt."""
    texts = [
        event.event_specific_data.error.to_string()
        for event in result.all_events
        if event.event_type_value in {"STEP_FAILURE", "STEP_UP_FOR_RETRY"}
    ]
    return texts[-1]


def write_checkpoint(settings: Settings, *, slug: str = "ann") -> Path:
    """Write a supervised checkpoint for an author. Create the author if it does not exist."""
    if not (settings.authors_dir / f"{slug}.toml").exists():
        write_author(settings, Author(slug=slug, name="Ann"))
    draft = settings.checkpoints_dir / slug / "draft"
    (draft / "adapter").mkdir(parents=True)
    save_file({"lora_A": np.ones((2, 2))}, draft / "adapter" / "adapter_model.safetensors")
    (draft / "adapter.gguf").write_bytes(b"gguf")
    manifest = build_manifest(
        slug,
        "c" * 64,
        base={"name": "tiny", "revision": "r", "folder": "/base", "gguf": "/base.gguf"},
        dataset={"data_version": "7"},
        tokens=10,
        epochs=0.5,
    )
    folder = manifests.publish_checkpoint(draft, settings.checkpoints_dir / slug, manifest)
    pointer = {"checkpoint": manifest.checkpoint, "folder": str(folder)}
    manifests.write_pointer(settings.checkpoints_dir / slug, "fine_tuned", pointer)
    return folder


def test_a_missing_dataset_is_an_error(home: Settings, instance: dg.DagsterInstance) -> None:
    write_author(home, Author(slug="ann", name="Ann"))
    asset = fine_tuned_checkpoint.with_attributes()
    result = materialize(asset, instance)
    assert not result.success
    assert "materialize instruction_dataset" in last_failure_message(result)


def test_the_supervised_checkpoint_becomes_the_candidate(
    home: Settings, instance: dg.DagsterInstance
) -> None:
    folder = write_checkpoint(home)
    for _ in range(2):  # the same checkpoint is registered once
        assert materialize(preference_tuned_checkpoint, instance).success
    candidate = json.loads((home.checkpoints_dir / "ann" / "candidate.json").read_text())
    assert candidate["stage"] == "sft"
    assert "no preference pairs, but 32 are needed" in candidate["reason"]
    (version,) = dagster_resources.RegistryResource(home=str(home.home)).registry().versions("ann")
    assert version.checkpoint == candidate["checkpoint"] == "c" * 64
    assert version.folder == str(folder)
    assert version.adapter_gguf == str(folder / "adapter.gguf")
    assert version.dataset_version == "7"


def test_a_missing_supervised_checkpoint_is_an_error(
    home: Settings, instance: dg.DagsterInstance
) -> None:
    write_author(home, Author(slug="ann", name="Ann"))
    result = materialize(preference_tuned_checkpoint, instance)
    assert not result.success
    assert "materialize fine_tuned_checkpoint" in last_failure_message(result)


def test_training_assets_share_a_pool_and_a_retry_policy() -> None:
    for asset in (fine_tuned_checkpoint, preference_tuned_checkpoint):
        assert asset.op.pool == "training"
        assert asset.op.retry_policy is not None
