"""Test releases with the asset, the sensor and the job on an ephemeral Dagster instance."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from tests.graph.release.dagster_home import (
    create_registry,
    write_certificates,
    write_shadow_pairs,
)
from tests.graph.release.releases import AUTHOR, register_passed_candidate
from tests.materialization import create_instance, materialize_assets
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.serving.released_model import released_model
from twin_resources.dagster_history import newest_metadata
from twin_resources.dagster_resources import RegistryResource, SettingsResource, TablesResource
from twin_resources.quality.release import trial
from twin_resources.registry.registry import Registry
from twin_resources.settings import PACES, Settings
from twin_resources.storage.tables.tables import Tables
from twin_sensors import canary_verdict, rollback_job

RESOURCES = {
    "settings": SettingsResource(),
    "registry": RegistryResource(),
    "tables": TablesResource(),
}


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return create_instance(AUTHOR)


@pytest.fixture
def registry(home: Settings) -> Registry:
    return create_registry(home)


def materialize(instance: dg.DagsterInstance) -> dict[str, Any]:
    """Materialize `released_model`, and return its metadata."""
    assert materialize_assets([released_model], AUTHOR, instance).success
    return newest_metadata(instance, "released_model", AUTHOR)


def prepare_trial(registry: Registry, instance: dg.DagsterInstance, home: Settings) -> Tables:
    """Release a first version, register a second one that has passed the gate, certify the judges.

    Returns:
        The author's tables.
    """
    register_passed_candidate(registry, "h1")
    materialize(instance)
    register_passed_candidate(registry, "h2")
    tables = Tables(home.tables_base, state=registry.state)
    write_certificates(tables)
    return tables


def run_tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """Run one tick and report its events to the instance, like the daemon."""
    sensor = canary_verdict.build_sensor(GATE_VERSION)
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources=RESOURCES, sensor_name="canary_verdict"
    ) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    for event in result.asset_events:
        assert isinstance(event, dg.AssetMaterialization)
        instance.report_runless_asset_event(event)
    return result


def report_prompts_used_up(instance: dg.DagsterInstance, trial_id: str) -> None:
    """Report that all prompts of a trial have been replayed, like `shadow_pairs`."""
    metadata = {"trial": trial_id, "prompts_used_up": True}
    instance.report_runless_asset_event(
        dg.AssetMaterialization("shadow_pairs", partition=AUTHOR, metadata=metadata)
    )


def test_shadow_pairs_promote_a_shadow(
    registry: Registry, instance: dg.DagsterInstance, home: Settings
) -> None:
    tables = prepare_trial(registry, instance, home)
    trial_id = write_shadow_pairs(registry, tables, [0.05, -0.05] * 60)
    assert materialize(instance)["stable"] == "v1", "promoted before the last prompt"
    report_prompts_used_up(instance, trial_id)

    metadata = materialize(instance)

    assert metadata["stable"] == "v2"
    assert metadata["trial"] == "v2 against v1, shadow"
    assert metadata["release_mode"] == "shadow"
    assert metadata["mode_because"] == "shadow: set in the author's file"
    assert "| promote: voice |" in metadata["evidence"]
    assert "shadow → stable" in metadata["moved"]
    assert metadata["finding"].startswith("shadow: not worse by 0.1 or more, and on average +0.000")
    assert metadata["mean_difference"] == "+0.000 ± 0.005"
    metadata = materialize(instance)
    assert metadata["moved"] == "nothing"


def test_a_certificate_of_another_revision_does_not_count(
    registry: Registry, instance: dg.DagsterInstance, home: Settings
) -> None:
    tables = prepare_trial(registry, instance, home)
    write_certificates(tables, revision="2")
    write_shadow_pairs(registry, tables, [0.4] * 60)
    metadata = materialize(instance)
    assert (metadata["stable"], metadata["trial"]) == ("v1", "none")
    assert registry.get(AUTHOR, 2).state == "shadow"


def test_a_shadow_is_parked_when_all_prompts_are_used(
    registry: Registry, instance: dg.DagsterInstance, home: Settings
) -> None:
    tables = prepare_trial(registry, instance, home)
    trial_id = write_shadow_pairs(registry, tables, [0.0] * 12)
    materialize(instance)
    assert registry.get(AUTHOR, 2).state == "shadow"
    report_prompts_used_up(instance, trial_id)
    metadata = materialize(instance)
    assert registry.get(AUTHOR, 2).state == "parked"
    assert "12 of about" in metadata["moved"]


def test_auto_mode_without_a_trial_releases_a_version_that_is_not_worse(
    instance: dg.DagsterInstance, home: Settings
) -> None:
    """The gate releases the first model, and the second if its interval suffices."""
    registry = create_registry(home, release_mode="auto")
    for number in (1, 2):
        register_passed_candidate(registry, f"h{number}")
        metadata = materialize(instance)
        assert metadata["stable"] == f"v{number}"
    assert metadata["release_mode"] == "gate"
    assert metadata["mode_because"].startswith("gate: no certified judge")
    assert "shown to be no worse than v1" in metadata["moved"]
    assert "0.9900; a release without a trial needs at most 1" in metadata["moved"]


def test_auto_mode_without_a_trial_parks_a_possibly_worse_version(
    instance: dg.DagsterInstance, home: Settings
) -> None:
    """The gate allows a perplexity 5 % higher, and no trial compares the versions."""
    registry = create_registry(home, release_mode="auto")
    register_passed_candidate(registry, "h1")
    materialize(instance)
    register_passed_candidate(registry, "h2", high=1.001)

    metadata = materialize(instance)

    assert metadata["stable"] == "v1"
    assert "parked" in metadata["moved"]
    assert "not shown to be no worse than v1" in metadata["moved"]
    assert "1.0010; a release without a trial needs at most 1" in metadata["moved"]
    assert "at most 1" in metadata["mode_because"]
    assert materialize(instance)["moved"] == "nothing"
    registry.move(AUTHOR, 2, "stable", actor="jo", reason="read by hand", force=True)
    assert registry.get(AUTHOR, 2).state == "stable"


def test_auto_mode_without_recorded_prompts_is_the_gate(
    instance: dg.DagsterInstance, home: Settings
) -> None:
    registry = create_registry(home, release_mode="auto")
    register_passed_candidate(registry, "h1")
    materialize(instance)
    write_certificates(Tables(home.tables_base, state=registry.state))
    register_passed_candidate(registry, "h2")
    metadata = materialize(instance)
    assert metadata["release_mode"] == "gate"
    assert "only 0 of 300 prompts" in metadata["mode_because"]


def test_the_sensor_decides_a_trial_once(instance: dg.DagsterInstance, home: Settings) -> None:
    registry = create_registry(home)
    tables = prepare_trial(registry, instance, home)
    materialize(instance)
    assert registry.get(AUTHOR, 2).state == "shadow"
    first = run_tick(instance)
    assert first.asset_events == []
    write_shadow_pairs(registry, tables, [-0.5] * 60)

    second = run_tick(instance, first.cursor)

    assert registry.get(AUTHOR, 2).state == "rolled_back"
    (event,) = second.asset_events
    assert isinstance(event, dg.AssetMaterialization)
    assert (event.partition, event.asset_key.to_user_string()) == (AUTHOR, "released_model")
    assert event.metadata["stable"].value == "v1"
    for name, value in event.metadata.items():
        is_text = name in {"moved", "evidence"}
        assert isinstance(value, dg.MarkdownMetadataValue) == is_text, name
    assert "worse than the stable version" in str(event.description)
    for cursor in (second.cursor, None):  # also with a lost cursor
        repeated = run_tick(instance, cursor)
        assert repeated.asset_events == []
        assert str(repeated.skip_reason) == "SkipReason(skip_message='no version is on trial')"
    assert [move.actor for move in registry.moves(AUTHOR)][-1] == "canary_verdict"


@pytest.mark.parametrize("reporter", ["sensor", "asset"])
def test_a_rollback_by_the_circuit_breaker_is_reported_once(
    instance: dg.DagsterInstance, home: Settings, reporter: str
) -> None:
    registry = create_registry(home)
    prepare_trial(registry, instance, home)
    materialize(instance)
    registry.move(AUTHOR, 2, "rolled_back", actor="gateway", reason="errors: 5 of its 5 requests")
    if reporter == "sensor":
        (event,) = run_tick(instance).asset_events
        report = str(event.description)
    else:
        report = materialize(instance)["moved"]
    assert "by gateway (errors: 5 of its 5 requests)" in report
    assert run_tick(instance).asset_events == []
    assert materialize(instance)["moved"] == "nothing"


def test_asset_and_sensor_continue_the_same_trial(
    instance: dg.DagsterInstance, home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With different margins, each would start its own trial, and neither would end."""
    monkeypatch.setitem(PACES, "", {"margin": 0.2})
    registry = create_registry(home)
    tables = prepare_trial(registry, instance, home)
    write_shadow_pairs(registry, tables, [0.0] * 12)
    assert materialize(instance)["margin"] == 0.2
    current = trial.current_trial(registry.state, AUTHOR)
    run_tick(instance)
    assert current is not None
    assert current.evidence.pairs == 12
    assert trial.current_trial(registry.state, AUTHOR) == current


def test_an_authors_error_is_reported_and_its_correction_continues_the_trial(
    registry: Registry, instance: dg.DagsterInstance, home: Settings
) -> None:
    tables = prepare_trial(registry, instance, home)
    materialize(instance)
    write_shadow_pairs(registry, tables, [0.3] * 60)
    author_file = home.authors_dir / f"{AUTHOR}.toml"
    author_file.write_text('name = "Mara"\nrelease_mode = "sometimes"\n', encoding="utf-8")
    message = str(run_tick(instance).skip_reason)
    assert "nothing decided" in message
    assert "set release_mode to one of auto, gate, shadow" in message
    corrected = 'name = "Mara"\nrelease_mode = "shadow"\nconsent = "2020-01-01"\n'
    author_file.write_text(corrected, encoding="utf-8")
    run_tick(instance)
    assert registry.get(AUTHOR, 2).state == "stable", "the finding was lost"


@pytest.mark.long
@pytest.mark.parametrize("mistake", ['name = ["', 'sources = "one"'])
def test_another_authors_invalid_file_does_not_stop_a_trial(
    registry: Registry, instance: dg.DagsterInstance, home: Settings, mistake: str
) -> None:
    tables = prepare_trial(registry, instance, home)
    materialize(instance)
    write_shadow_pairs(registry, tables, [-0.5] * 60)
    (home.authors_dir / "aaa.toml").write_text(mistake, encoding="utf-8")

    message = str(run_tick(instance).skip_reason)

    assert registry.get(AUTHOR, 2).state == "rolled_back"
    assert "aaa.toml" in message


@pytest.mark.long
def test_the_job_rolls_back_with_its_reason(
    registry: Registry, instance: dg.DagsterInstance, home: Settings
) -> None:
    gate_registry = create_registry(home, release_mode="gate")
    for number in (1, 2, 3):
        register_passed_candidate(gate_registry, f"h{number}")
        materialize(instance)

    def run(**config: Any) -> dg.ExecuteInProcessResult:
        return rollback_job.roll_back.execute_in_process(
            instance=instance,
            partition_key=AUTHOR,
            resources=RESOURCES,
            run_config={"ops": {"bring_back": {"config": config}}},
            raise_on_error=False,
        )

    assert run(version=1, reason="it rambles").success
    states = [version.state for version in registry.versions(AUTHOR)]
    assert states == ["stable", "retired", "rolled_back"]
    metadata = newest_metadata(instance, "released_model", AUTHOR)
    assert metadata["stable"] == "v1"
    assert "by job:roll_back (it rambles)" in metadata["moved"]
    assert not run(version=2, reason="  ").success
    assert not run(version=3, reason="forward again").success
    assert run(reason="one further").success
    stable = registry.stable_version(AUTHOR)
    assert stable is not None
    assert stable.version == 2
