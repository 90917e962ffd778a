"""Test that both dagster.yaml files in `deploy/` match the schemas of Dagster and its plug-ins."""

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

PRODUCTION_VARIABLES = {
    "DAGSTER_POSTGRES_HOST": "db.internal",
    "DAGSTER_POSTGRES_USER": "dagster",
    "DAGSTER_POSTGRES_PASSWORD": "secret",
    "DAGSTER_POSTGRES_DB": "dagster",
    "DAGSTER_LOGS_BUCKET": "logs",
    "AWS_REGION": "eu-central-1",
    "DAGSTER_RUN_CONTAINER": "run",
    "DAGSTER_RUN_TASK_DEFINITION": "llm-twin-run",
}


def load_instance_ref(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> InstanceRef:
    shutil.copyfile(ROOT / "deploy" / name, home / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    for variable, value in PRODUCTION_VARIABLES.items():
        monkeypatch.setenv(variable, value)
    return InstanceRef.from_dir(str(home))


def validate_component(data: ConfigurableClassData | None) -> str:
    """Assert that a component's schema accepts its configuration; return its class name."""
    assert data is not None
    component = getattr(importlib.import_module(data.module_name), data.class_name)
    result = process_config(component.config_type(), data.config_dict)
    assert result.success, result.errors
    return data.class_name


def test_the_production_instance_uses_postgresql_s3_logs_and_ecs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance_ref = load_instance_ref("dagster.prod.yaml", tmp_path, monkeypatch)
    assert validate_component(instance_ref.storage_data) == "DagsterPostgresStorage"
    assert instance_ref.storage_data is not None
    # Otherwise SQLAlchemy 2.1 uses psycopg 3, with which Dagster cannot write an event.
    assert instance_ref.storage_data.config_dict["postgres_db"]["scheme"] == "postgresql+psycopg2"
    assert validate_component(instance_ref.compute_logs_data) == "S3ComputeLogManager"
    assert validate_component(instance_ref.run_launcher_data) == "EcsRunLauncher"
    assert instance_ref.settings["telemetry"] == {"enabled": False}
    assert instance_ref.settings["run_monitoring"]["enabled"]


def test_the_local_instance_uses_sqlite_in_its_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance_ref = load_instance_ref("local/dagster.yaml", tmp_path, monkeypatch)
    assert validate_component(instance_ref.storage_data) == "DagsterSqliteStorage"
    assert validate_component(instance_ref.compute_logs_data) == "LocalComputeLogManager"
    assert validate_component(instance_ref.run_launcher_data) == "LocalRunLauncher"
    with dg.DagsterInstance.from_ref(instance_ref) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.global_op_concurrency_default_limit == 1
        assert instance.get_runs() == []
    assert list(tmp_path.rglob("runs.db"))
