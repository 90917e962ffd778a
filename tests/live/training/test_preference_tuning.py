"""Test preference tuning on real ranks."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from tests.graph.instructions.recorded_traces import build_edit, write_traces
from tests.live.training.conftest import (
    LONG_ENOUGH,
    ImportedProcesses,
    fork_trainings,
    make_pairs,
    make_samples,
    write_training_job,
)
from tests.live.training.running_ranks import assert_same_training, find_ranks, read_weights
from tests.live.training.test_checkpoint_assets import RECIPE
from tests.materialization import materialize_assets, metadata_of
from twin_assets.checkpoints.job import read_result
from twin_assets.checkpoints.manifest import read_manifest, read_pointer
from twin_assets.instructions import preference_dataset
from twin_assets.training.checkpoints import fine_tuned_checkpoint, preference_tuned_checkpoint
from twin_resources import dagster_resources
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import LocalLauncher, TrainingJob
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]

# for tests that need no ranks: a second rank and DeepSpeed's start cost as much as the training
SINGLE_RANK: dict[str, Any] = {"ranks": 1, "launch": "cpu-single"}


@pytest.fixture(scope="module")
def adapter(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, imported: ImportedProcesses
) -> Path:
    """Train the adapter from which the preference tuning of these tests starts."""
    home = Settings(home=tmp_path_factory.mktemp("supervised"))
    job = write_training_job(home, tiny_model, "supervised", token_budget=1200, **SINGLE_RANK)
    with fork_trainings(imported):
        return LocalLauncher(home).run(job) / "adapter"


@pytest.mark.parametrize(
    ("launch", "stage"),
    [
        ("cpu-zero2", 2),
        pytest.param("cpu-ddp", 0, marks=pytest.mark.long),
        pytest.param("cpu-zero1", 1, marks=pytest.mark.long),
        pytest.param("cpu-zero3", 3, marks=pytest.mark.long),
    ],
)
def test_a_killed_rank_resumes_with_the_same_reference(
    home: Settings,
    make_job: Callable[..., TrainingJob],
    adapter: Path,
    imported: ImportedProcesses,
    launch: str,
    stage: int,
) -> None:
    launcher = LocalLauncher(home)
    make_job = partial(make_job, launch=launch)
    changes = {"adapter": adapter, "samples": make_pairs(), "learning_rate": 3e-4, **LONG_ENOUGH}
    with fork_trainings(imported):
        undisturbed = launcher.run(make_job("uninterrupted", **changes))
    job = make_job("killed", **changes)
    messages: list[dict[str, Any]] = []

    def kill_once(message: dict[str, Any]) -> None:
        messages.append(message)
        texts = [item for item in messages if "text" in item]
        if message.get("progress", {}).get("step") == 4 and not texts:
            os.kill(find_ranks(job)[1].pid, signal.SIGKILL)

    resumed = launcher.run(job, on_message=kill_once)

    assert_same_training(resumed, undisturbed)
    result, uninterrupted = (
        read_result(output / "result.json") for output in (resumed, undisturbed)
    )
    assert result.effective["zero_stage"] == stage
    assert result.resumed_at, messages
    assert result.resumed_at[0] in range(3, result.steps, 3), (
        "resumed at a step without a checkpoint"
    )
    resumed_weights, initial_weights = read_weights(resumed), read_weights(adapter.parent)
    assert any((initial_weights[name] != resumed_weights[name]).any() for name in initial_weights)
    for name in ("margin", "accuracy", "reward_chosen"):
        assert [row[name] for row in result.history] == [row[name] for row in uninterrupted.history]
    # at first the model equals its reference exactly; then it learns the preferences
    first, last = result.history[0], result.history[-1]
    assert (first["loss"], first["margin"]) == (pytest.approx(0.69315, abs=1e-5), 0.0)
    assert last["loss"] < first["loss"]
    assert last["margin"] > 0.05
    assert last["accuracy"] == 1.0
    progress = [item["progress"] for item in messages if "progress" in item]
    assert {"margin", "accuracy", "reward_chosen", "eta_s"} <= progress[-1].keys()


@pytest.mark.usefixtures("quick_starts")
def test_an_adapter_of_another_shape_is_an_error_without_retry(
    home: Settings, make_job: Callable[..., TrainingJob], adapter: Path
) -> None:
    launcher = LocalLauncher(home)
    job = make_job("other", adapter=adapter, samples=make_pairs(), **SINGLE_RANK)
    document = json.loads((job.folder / "job.json").read_text())
    document["recipe"]["lora"]["rank"] = 2
    (job.folder / "job.json").write_text(json.dumps(document))
    texts: list[str] = []
    with pytest.raises(TwinError, match="fine_tuned_checkpoint") as error:
        launcher.run(job, on_message=lambda message: texts.append(str(message)))
    assert "its layers or rank differ" in error.value.found
    assert not any("trying again" in text for text in texts)


PREFERENCE_SECTION = """
preference:
  beta: 0.1
  learning_rate: 0.001
  token_budget: 2500
  fewest_pairs: 8
"""


@pytest.fixture
def ann(write_author_with_recipe: Callable[..., tuple[Author, Settings]]) -> Settings:
    # this test needs three training runs; the first test covers preference tuning on two ranks
    recipe = RECIPE.replace("launch: cpu-zero2", "launch: cpu-single") + PREFERENCE_SECTION
    return write_author_with_recipe(recipe)[1]


def write_posts(tables: Tables, *, count: int) -> None:
    """Write documents, chunks and samples; each document contains its answers verbatim."""
    samples, texts = list[dict[str, Any]](), dict[str, str]()
    for index, row in enumerate(make_samples(count)):
        document, question = row["document_id"], row["messages"][1]
        answer = "Numbers: " + " ".join(str((index + 3) ** power) for power in range(2, 14))
        before = texts.get(document, "")
        texts[document] = f"{before}{answer}\n\n"
        samples.append(
            row
            | {
                "messages": [question, {"role": "assistant", "content": answer}],
                "split": "held_out" if document == "document-6" else "train",
                "chunk_id": f"chunk of {document}",
                "start": len(before),
                "end": len(before) + len(answer),
                "question": f"Numbers {index}, please",
                "answer": answer,
                "context_chunk_ids": [],
                "template": DEFAULT_TEMPLATE.hash,
            }
        )
    documents = [
        {"document_id": document, "text": text, "kept": True}
        for document, text in sorted(texts.items())
    ]
    chunks = [
        {
            "chunk_id": f"chunk of {document}",
            "document_id": document,
            "position": 0,
            "start": 0,
            "end": len(text),
            "title": document,
            "text": text,
            "published_at": None,
        }
        for document, text in sorted(texts.items())
    ]
    for asset, key, table_rows in (
        ("cleaned_documents", "document_id", documents),
        ("embeddings", "chunk_id", chunks),
        ("instruction_dataset", "sample_id", samples),
    ):
        frame = pl.DataFrame(
            table_rows, schema_overrides={"published_at": pl.Datetime("us", "UTC")}
        )
        frame = frame.with_columns(pl.col(pl.List(pl.Null)).cast(pl.List(pl.String)))
        tables.sync(
            frame,
            asset,
            author="ann",
            key=key,
            function=lambda changed: changed,
            version="1",
            schema=dict(frame.schema),
            row_key=key,
        )


def materialize(instance: dg.DagsterInstance) -> dict[str, dict[str, Any]]:
    """Run dataset, checkpoints and checks; return the metadata by asset."""
    assets = [
        fine_tuned_checkpoint, preference_dataset.preference_dataset, preference_tuned_checkpoint,
    ]  # fmt: skip
    checks = dg.load_asset_checks_from_modules([preference_dataset])
    result = materialize_assets([*assets, *checks], "ann", instance)
    assert all(check.passed for check in result.get_asset_check_evaluations())
    names = [asset.key.path[-1] for asset in assets]
    return {name: metadata_of(result, name) for name in names}


@pytest.mark.usefixtures("quick_starts")
def test_a_model_is_tuned_once_on_the_authors_edits(
    ann: Settings, instance: dg.DagsterInstance
) -> None:
    tables = dagster_resources.TablesResource(home=str(ann.home)).tables()
    registry = dagster_resources.RegistryResource(home=str(ann.home)).registry()
    checkpoints = ann.checkpoints_dir / "ann"

    write_posts(tables, count=40)
    first = materialize(instance)
    assert first["preference_tuned_checkpoint"]["stage"] == "sft"
    assert "no preference pairs, but 8 are needed" in str(
        first["preference_tuned_checkpoint"]["reason"]
    )
    supervised_id = read_pointer(checkpoints, "candidate")["checkpoint"]
    claim = GateClaim("test", passed=True, value=None, threshold=None, detail="")
    registry.record_verdict(Verdict("ann", supervised_id, "1", "passed", (claim,), "2026"))
    registry.move("ann", 1, "stable", actor="test", reason="test", gate_version="1")

    released = materialize(instance)  # a release alone changes no inputs
    assert released["preference_tuned_checkpoint"]["checkpoint"] == supervised_id

    write_posts(tables, count=50)
    edits = [build_edit(f"I count to {number}, and no further.") for number in range(12)]
    write_traces(tables, edits, author="ann")
    second = materialize(instance)
    assert second["preference_dataset"]["sources"] == {"edit": 12}
    tuned = second["preference_tuned_checkpoint"]
    assert (tuned["stage"], tuned["trained"], tuned["pairs"]) == ("dpo", True, 12)
    assert tuned["reward_margin"] > 0
    candidate = read_pointer(checkpoints, "candidate")
    manifest = read_manifest(Path(candidate["folder"]))
    supervised = read_pointer(checkpoints, "fine_tuned")
    assert (candidate["stage"], manifest.stage) == ("dpo", "dpo")
    assert candidate["checkpoint"] != supervised["checkpoint"]
    assert manifest.preferences["parent"] == supervised["checkpoint"]
    assert manifest.preferences["data_version"] == tables.data_version("preference_dataset", "ann")
    assert (
        tables.read("preference_dataset", "ann", version=manifest.preferences["tag"]).height == 12
    )
    assert manifest.dataset == read_manifest(Path(supervised["folder"])).dataset
    assert manifest.recipe["preference"]["beta"] == 0.1
    assert (Path(candidate["folder"]) / "adapter.gguf").is_file()
    assert registry.get("ann", 2).checkpoint == candidate["checkpoint"]
    assert registry.get("ann", 2).state == "candidate"
    assert not list((ann.work_dir / "training").iterdir())

    registry.record_verdict(
        Verdict("ann", candidate["checkpoint"], "1", "passed", (claim,), "2026")
    )
    registry.move("ann", 2, "stable", actor="test", reason="test", gate_version="1")
    unchanged = materialize(instance)
    assert unchanged["fine_tuned_checkpoint"]["trained"] is False
    assert unchanged["preference_tuned_checkpoint"]["trained"] is False
    assert read_pointer(checkpoints, "candidate") == candidate
    assert len(registry.versions("ann")) == 2
