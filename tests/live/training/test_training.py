"""Test training on real DeepSpeed ranks."""

from __future__ import annotations

import _thread
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from tests.live.training.conftest import LONG_ENOUGH
from tests.live.training.running_ranks import assert_same_training, find_ranks
from twin_assets.checkpoints.job import read_job, read_result, write_job
from twin_assets.training.training_state import find_last_complete_checkpoint
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import LocalLauncher, TrainingJob
from twin_resources.settings import Settings

pytestmark = pytest.mark.live


def find_listening_addresses(job: TrainingJob) -> set[str]:
    """Return the addresses on which the processes of a training run listen."""
    ranks = list(find_ranks(job).values())
    parents = [parent for rank in ranks for parent in rank.parents()[:1]]
    assert len(ranks) == job.ranks
    return {
        connection.laddr.ip
        for process in {*ranks, *parents}
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def test_a_killed_rank_resumes_bit_for_bit(
    home: Settings, make_job: Callable[..., TrainingJob]
) -> None:
    """All weights are trained in shards here; `test_kills.py` tests adapters."""
    launcher = LocalLauncher(home)
    changes = {"launch": "cpu-zero3", "lora": None, "learning_rate": 1e-3, **LONG_ENOUGH}
    listening_addresses: set[str] = set()
    uninterrupted_job = make_job("uninterrupted", **changes)

    def record_addresses(message: dict[str, Any]) -> None:
        if message.get("progress", {}).get("step") == 2:
            listening_addresses.update(find_listening_addresses(uninterrupted_job))

    undisturbed = launcher.run(uninterrupted_job, on_message=record_addresses)
    job = make_job("killed", **changes)
    messages: list[dict[str, Any]] = []

    def kill_once(message: dict[str, Any]) -> None:
        messages.append(message)
        texts = [item for item in messages if "text" in item]
        if message.get("progress", {}).get("step") == 5 and not texts:
            os.kill(find_ranks(job)[1].pid, signal.SIGKILL)

    @dg.asset
    def trained(context):
        with dg.open_pipes_session(
            context, dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
        ) as session:
            launcher.run(job, on_message=kill_once, environment=session.get_bootstrap_env_vars())
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([trained], instance=instance)
        log_text = " ".join(event.message for event in instance.all_logs(run.run_id))

    resumed = job.folder / "output"
    result = read_result(resumed / "result.json")
    assert result.resumed_at, messages
    assert result.resumed_at[0] in range(3, result.steps, 3), (
        "resumed at a step without a checkpoint"
    )
    assert_same_training(resumed, undisturbed)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert not find_ranks(job)
    # the run has the messages of both attempts and of every step
    assert f"resuming after step {result.resumed_at[0]} of {result.steps}" in log_text
    assert all(f'"step": {step + 1}, ' in log_text for step in range(result.steps))
    assert listening_addresses <= {"127.0.0.1", "::1"}


def test_a_cancelled_training_run_leaves_no_process_and_resumes(
    home: Settings, make_job: Callable[..., TrainingJob]
) -> None:
    job = make_job("cancelled", **LONG_ENOUGH)

    def interrupt(message: dict[str, Any]) -> None:
        if message.get("progress", {}).get("step") == 4:
            _thread.interrupt_main()

    with pytest.raises(KeyboardInterrupt):
        LocalLauncher(home).run(job, on_message=interrupt)

    assert not find_ranks(job)
    checkpoint = find_last_complete_checkpoint(read_job(job.folder / "job.json").state_folder)
    assert checkpoint is not None
    output = LocalLauncher(home).run(job)
    assert read_result(output / "result.json").resumed_at == [checkpoint[1]["step"]]


def make_poisoned_model(tiny_model: Path, folder: Path, value: float) -> Path:
    """Write the tiny model with a damaged embedding of ` word`, which only some samples contain.

    Input and output embedding are the same weights.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.copytree(tiny_model, folder)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    (token,) = AutoTokenizer.from_pretrained(tiny_model)(" word")["input_ids"]
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = value
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("value", "message"),
    [(float("nan"), "a loss of NaN or inf"), (1e25, "a gradient norm of NaN or inf")],
)
def test_a_loss_or_gradient_that_is_not_finite_stops_both_ranks(
    home: Settings,
    make_job: Callable[..., TrainingJob],
    tiny_model: Path,
    tmp_path: Path,
    value: float,
    message: str,
) -> None:
    job = make_job("broken")
    base = make_poisoned_model(tiny_model, tmp_path / "poisoned", value)
    write_job(replace(read_job(job.folder / "job.json"), base_folder=base))
    texts: list[str] = []
    started = time.monotonic()

    with pytest.raises(TwinError) as error:
        LocalLauncher(home).run(job, on_message=lambda message: texts.append(str(message)))

    assert "training step 1" in str(error.value)
    assert message in error.value.found
    sample_ids = re.findall(r"sample-\d+", error.value.found)
    assert 1 <= len(sample_ids) <= 4
    assert not any("trying again" in text for text in texts)
    assert not find_ranks(job)
    # both ranks ended by themselves: no collective ran into its time limit
    log = (home.logs_dir / "training-broken.log").read_text(encoding="utf-8")
    assert log.count(error.value.found) == 2
    assert time.monotonic() - started < 300


@pytest.mark.usefixtures("quick_starts")
def test_the_error_explains_why_no_sample_is_usable(
    home: Settings, make_job: Callable[..., TrainingJob]
) -> None:
    with pytest.raises(TwinError, match="0 usable samples, 60 left out: too_long") as error:
        LocalLauncher(home).run(make_job("long", max_length=16, ranks=1, launch="cpu-single"))
    assert "raise max_length" in error.value.next_step


FORBIDDEN_MODULES = {"polars", "lancedb", "lance", "dagster", "pyarrow", "pandas", "sqlalchemy"}


@pytest.mark.parametrize(("launch", "stage"), [("cpu-single", 0), ("cpu-zero2", 2)])
def test_a_single_rank_imports_no_tables_and_no_dagster(
    home: Settings, make_job: Callable[..., TrainingJob], launch: str, stage: int
) -> None:
    job = make_job("alone", launch=launch, ranks=1, token_budget=1500)
    # Python then logs each import, including those of the launcher
    environment = {**job.environment, "PYTHONPROFILEIMPORTTIME": "1"}

    output = LocalLauncher(home).run(replace(job, environment=environment))

    log = (home.logs_dir / "training-alone.log").read_text(encoding="utf-8")
    modules = set(re.findall(r"^import time:.*\| +(\w+)$", log, re.MULTILINE))
    assert {"torch", "transformers", "peft"} <= modules
    assert not modules & FORBIDDEN_MODULES

    result = read_result(output / "result.json")
    assert (result.effective["ranks"], result.effective["zero_stage"]) == (1, stage)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
