"""Test the two checkpoint assets with a tiny model and real ranks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from tests.live.training.conftest import make_samples
from tests.materialization import materialize_assets, metadata_of
from tests.stored_rows import store_rows
from twin_assets.checkpoints.manifest import read_manifest, read_pointer
from twin_assets.training.checkpoints import fine_tuned_checkpoint, preference_tuned_checkpoint
from twin_resources import dagster_resources
from twin_resources.authors import Author
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("quick_starts")]

RECIPE = """
launch: cpu-zero2
seed: 1
token_budget: 8000
max_epochs: 2
samples_per_step: 4
micro_batch_size: 1
max_length: 512
bucket: 64
learning_rate: 0.001
warmup_share: 0.1
final_learning_rate_share: 0.1
weight_decay: 0.0
max_grad_norm: 1.0
checkpoint_every_steps: 2
lora: {rank: 4, alpha: 8, dropout: 0.0, target_modules: [q_proj, k_proj, v_proj, down_proj]}
"""

SCHEMA = {
    "sample_id": pl.String(),
    "document_id": pl.String(),
    "split": pl.String(),
    "messages": pl.List(pl.Struct({"role": pl.String(), "content": pl.String()})),
    "template": pl.String(),
}


@pytest.fixture
def ann(write_author_with_recipe: Callable[..., tuple[Author, Settings]]) -> Settings:
    """Return a home with an author, a dataset and a recipe of a few steps for two ranks."""
    _, settings = write_author_with_recipe(RECIPE, single_rank=False)
    write_dataset(settings, count=40)
    return settings


def write_dataset(
    home: Settings, *, count: int, samples: list[dict[str, Any]] | None = None
) -> None:
    tables = Tables(home.tables_base, state=open_home_state(home))
    frame = pl.DataFrame(
        [
            row | {"split": "held_out" if index % 10 == 9 else "train", "template": "abc"}
            for index, row in enumerate(samples or make_samples(count))
        ],
        schema=SCHEMA,
    )
    store_rows(tables, "instruction_dataset", "ann", frame, key="sample_id")


def materialize(home: Settings, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    result = materialize_assets(
        [fine_tuned_checkpoint, preference_tuned_checkpoint], "ann", instance
    )
    assert result.success
    return result


def test_checkpoints_are_reused_until_the_data_change(
    ann: Settings, instance: dg.DagsterInstance
) -> None:
    first = materialize(ann, instance)

    checkpoints = ann.checkpoints_dir / "ann"
    candidate = read_pointer(checkpoints, "candidate")
    folder = Path(candidate["folder"])
    manifest = read_manifest(folder)
    assert candidate["stage"] == manifest.stage == "sft"
    assert "has no preference tuning" in candidate["reason"]
    assert folder.name == manifest.checkpoint == candidate["checkpoint"]
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert (folder / "adapter.gguf").is_file()
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert not Path(config["base_model_name_or_path"]).is_relative_to(ann.home)
    assert manifest.dataset["samples"] == 36
    assert manifest.launch["ranks"] == 2
    assert 0 < manifest.epochs <= 2
    assert not list((ann.work_dir / "training").iterdir())

    metadata = metadata_of(first, "fine_tuned_checkpoint")
    assert metadata["trained"] is True
    assert metadata["checkpoint"] == manifest.checkpoint
    assert metadata["left_out"] == manifest.dataset["left_out"] == {}
    progress = [
        event.message for event in instance.all_logs(first.run_id) if "progress {" in event.message
    ]
    assert len(progress) == manifest.steps  # through Dagster Pipes, only from rank 0
    records = instance.fetch_observations(fine_tuned_checkpoint.key, limit=100).records
    observations = [record.asset_observation for record in records]
    steps = [item.metadata["step"].value for item in observations if item is not None]
    assert {1, manifest.steps} <= set(steps)  # recorded during the run, in addition to log lines
    values = json.loads(progress[-1][progress[-1].index("{") :])
    assert {"step", "steps", "loss", "lr", "tokens_per_s", "rss_mb", "eta_s"} <= values.keys()

    registry = dagster_resources.RegistryResource(home=str(ann.home)).registry()
    (version,) = registry.versions("ann")
    assert (version.state, version.checkpoint) == ("candidate", manifest.checkpoint)
    assert version.adapter_gguf == str(folder / "adapter.gguf")
    tables = dagster_resources.TablesResource(home=str(ann.home)).tables()
    tagged_rows = tables.read("instruction_dataset", "ann", version=manifest.dataset["tag"])
    assert tagged_rows.height == 40

    unchanged = materialize(ann, instance)
    assert metadata_of(unchanged, "fine_tuned_checkpoint")["trained"] is False
    assert len(registry.versions("ann")) == 1

    write_dataset(ann, count=50)
    changed = materialize(ann, instance)
    assert metadata_of(changed, "fine_tuned_checkpoint")["trained"] is True
    assert len(registry.versions("ann")) == 2
    assert tables.read("instruction_dataset", "ann", version=manifest.dataset["tag"]).height == 40
