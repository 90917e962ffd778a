"""Test when the adapter of other authors is trained, and for which author."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from tests.graph.sensors.shared_instance import dagster_instance, reset_instance
from tests.model_versions import register_passed_version
from twin_assets.definitions import defs
from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import RegistryResource, SettingsResource
from twin_resources.errors import TwinError
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_sensors import reference_training

__all__ = ["dagster_instance"]  # a fixture


@pytest.fixture
def registry(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("TWIN_HOME", str(home.home))
    return Registry(State.open(home.state_address), policy_path=home.policy_path)


def add_author(home: Settings, registry: Registry, author: str, *, released: bool = True) -> None:
    write_author(home, Author(author, author.title(), consent="2026-01-01: by mail"))
    register_passed_version(registry, author, f"{author} 1", "stable" if released else "shadow")


def run_tick(
    *known_authors: str,
    hours: float = 4,
    needs_adapter: tuple[str, ...] = ("ann", "bob"),
    run: tuple[str, dg.DagsterRunStatus] | None = None,
) -> tuple[list[str], str]:
    """Run a tick; return the authors with a run and the message.

    Args:
        known_authors: the authors with a partition.
        hours: the hours from now to the scheduled time of the tick.
        needs_adapter: the authors that need an adapter.
        run: the job and status of an existing run for ann.
    """

    def is_adapter_needed(author: Author, _settings: Settings) -> bool:
        if author.slug == "broken":
            raise TwinError("load", found="no base model", next_step="prepare it")
        return author.slug in needs_adapter

    instance = reset_instance(known_authors)
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime.now(UTC) + timedelta(hours=hours),
        resources={"registry": RegistryResource(), "settings": SettingsResource()},
        repository_def=defs.get_repository_def(),
    ) as context:
        if run is not None:
            job, status = run
            tags = {"dagster/partition": "ann"}
            instance.add_run(dg.DagsterRun(job_name=job, status=status, tags=tags))
        result = reference_training.build_schedule(is_adapter_needed).evaluate_tick(context)
    authors = [str(request.partition_key) for request in result.run_requests or ()]
    return authors, result.skip_message or ""


def test_one_author_at_a_time_hours_after_the_release(home: Settings, registry: Registry) -> None:
    add_author(home, registry, "ann")
    add_author(home, registry, "bob")
    add_author(home, registry, "cat", released=False)
    add_author(home, registry, "aby", released=False)

    assert run_tick("aby", "ann", "bob", "cat") == (["ann"], "")
    assert run_tick("ann", "bob", needs_adapter=("bob",))[0] == ["bob"]
    assert run_tick("bob")[0] == ["bob"]  # ann's partition was deleted
    authors, message = run_tick("cat")
    assert authors == []
    assert message.endswith("cat: no version has been stable for three hours")
    assert run_tick("ann", hours=2)[1].endswith("ann: no version has been stable for three hours")
    message = run_tick("ann", needs_adapter=())[1]
    assert message.endswith("ann: already has an adapter, or needs none")
    register_passed_version(registry, "dan", "base", "stable", kind="answer_model")
    write_author(home, Author("dan", "Dan", consent="2026-01-01: by mail"))
    assert run_tick("dan", needs_adapter=("dan",))[0] == [], "an answer model got an adapter"


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
@pytest.mark.parametrize("job", ["retrain_twin", "train_reference"])
def test_training_waits_for_every_other_training_run(
    home: Settings, registry: Registry, job: str, status: dg.DagsterRunStatus
) -> None:
    add_author(home, registry, "bob")
    message = "a training run for ann is waiting or running"
    assert run_tick("bob", run=(job, status)) == ([], message)


def test_a_failed_training_is_repeated_only_after_a_day(home: Settings, registry: Registry) -> None:
    add_author(home, registry, "ann")
    failed = ("train_reference", dg.DagsterRunStatus.FAILURE)
    assert run_tick("ann", run=failed) == ([], "ann: training was attempted in the last 24 hours")
    add_author(home, registry, "bob")
    assert run_tick("ann", "bob", run=failed) == (["bob"], "")
    (home.authors_dir / "bob.toml").unlink()
    assert run_tick("ann", run=failed, hours=25)[0] == ["ann"]


def test_a_missing_base_model_does_not_block_other_authors(
    home: Settings, registry: Registry
) -> None:
    add_author(home, registry, "broken")
    add_author(home, registry, "zoe")
    assert run_tick("broken", "zoe", needs_adapter=("zoe",))[0] == ["zoe"]
    assert "no base model" in run_tick("broken")[1]
