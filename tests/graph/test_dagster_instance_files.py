"""The two dagster.yaml of `deploy/` against Dagster's own schema and their classes' own."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import dagster as dg
import pytest
from dagster._config import process_config
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData

from tests.conftest import ROOT

PRODUCTION = {
    "DAGSTER_POSTGRES_HOST": "db.internal",
    "DAGSTER_POSTGRES_USER": "dagster",
    "DAGSTER_POSTGRES_PASSWORD": "secret",
    "DAGSTER_POSTGRES_DB": "dagster",
    "DAGSTER_LOGS_BUCKET": "logs",
    "AWS_REGION": "eu-central-1",
    "DAGSTER_RUN_CONTAINER": "run",
    "DAGSTER_RUN_TASK_DEFINITION": "llm-twin-run",
}


def reference(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> InstanceRef:
    shutil.copyfile(ROOT / "deploy" / name, home / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    for variable, value in PRODUCTION.items():
        monkeypatch.setenv(variable, value)
    return InstanceRef.from_dir(str(home))


def accepted(data: ConfigurableClassData | None) -> str:
    """Class name of a component whose configuration its own schema accepts."""
    assert data is not None
    component = getattr(importlib.import_module(data.module_name), data.class_name)
    outcome = process_config(component.config_type(), data.config_dict)
    assert outcome.success, outcome.errors
    return data.class_name


def test_production_names_postgresql_s3_logs_and_ecs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = reference("dagster.prod.yaml", tmp_path, monkeypatch)
    assert accepted(found.storage_data) == "DagsterPostgresStorage"
    assert found.storage_data is not None
    # SQLAlchemy 2.1 takes psycopg 3 otherwise, with which Dagster cannot write an event
    assert found.storage_data.config_dict["postgres_db"]["scheme"] == "postgresql+psycopg2"
    assert accepted(found.compute_logs_data) == "S3ComputeLogManager"
    assert accepted(found.run_launcher_data) == "EcsRunLauncher"
    assert found.settings["telemetry"] == {"enabled": False}
    assert found.settings["run_monitoring"]["enabled"]


def test_the_local_instance_runs_on_sqlite_in_its_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = reference("local/dagster.yaml", tmp_path, monkeypatch)
    assert accepted(found.storage_data) == "DagsterSqliteStorage"
    assert accepted(found.compute_logs_data) == "LocalComputeLogManager"
    with dg.DagsterInstance.from_ref(found) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.global_op_concurrency_default_limit == 1
        assert instance.get_runs() == []
    assert list(tmp_path.rglob("runs.db"))
