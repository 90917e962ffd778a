"""Test the limits of imports: heavy packages that stay unloaded, and the lint contracts.

Imports run in a new interpreter, because this one has already imported everything.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY_PACKAGES = (
    "torch",
    "transformers",
    "deepspeed",
    "accelerate",
    "peft",
    "litellm",
    "lancedb",
    "lance",
    "dagster_aws",
    "openvino",
    "xllamacpp",
    "trafilatura",
    "langfuse",
)


def find_loaded_modules(module: str) -> set[str]:
    """Return the modules that a new interpreter has loaded after importing this one."""
    completed = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stderr
    return set(completed.stdout.splitlines()[-1].split())


@pytest.mark.long
def test_definitions_load_no_heavy_package() -> None:
    loaded = find_loaded_modules("twin_assets.definitions")
    assert loaded.isdisjoint(HEAVY_PACKAGES), sorted(loaded.intersection(HEAVY_PACKAGES))


GATEWAY_PARENT = (
    "twin_resources.gateway.__main__, twin_resources.gateway.api.routes, "
    "twin_resources.gateway.request_path, twin_resources.gateway.runtime.background_tasks"
)


@pytest.mark.long
@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("twin_cli", {"dagster"}),
        ("twin_resources.gateway.provider", {"dagster"}),
        ("twin_assets.corpus.preview", {"dagster"}),
        (
            "twin_resources.registry.policy",
            {*HEAVY_PACKAGES, "dagster", "polars", "pyarrow", "sqlalchemy"},
        ),
        (GATEWAY_PARENT, {*HEAVY_PACKAGES, "dagster"}),
        # The workers are forks of this process and need their own registries.
        ("twin_resources.gateway.__main__", {"prometheus_client"}),
    ],
)
def test_a_module_imports_no_forbidden_library(modules: str, forbidden: set[str]) -> None:
    assert forbidden.isdisjoint(find_loaded_modules(modules))


@pytest.mark.long
def test_a_public_name_loads_only_its_own_module() -> None:
    code = (
        "import sys; from twin_assets import cleaned_documents;"
        "from twin_resources import LangfuseResource;"
        "print('twin_assets.evaluation.checkpoint_evaluation' in sys.modules,"
        " 'twin_resources.models.retrieval.retrieval' in sys.modules,"
        " cleaned_documents.key.to_user_string(),"
        " LangfuseResource.__name__)"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert completed.stdout.split() == ["False", "False", "cleaned_documents", "LangfuseResource"]


def test_only_the_thin_files_of_a_stage_import_dagster() -> None:
    from twin_assets import definitions

    thin = {Path(module.__file__ or "").resolve() for module in definitions.ASSET_MODULES}
    for module in (
        "asset_specs",
        "definitions",
        "partitions",
        "step_executor",
        "table_assets",
        "tables_io_manager",
        "analytics/sql_models",
        "contract_checks",
        "feedback/evidence_report",
        "serving/routing_report",
        "training/fine_tuning",
        "training/live_progress",
        "serving/training_inputs_resource",
    ):
        thin.add(ROOT / "twin_assets" / f"{module}.py")
    importing = {
        path
        for path in (ROOT / "twin_assets").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(name.name == "dagster" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dagster")
    }
    assert importing <= thin, sorted(str(path) for path in importing - thin)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import twin_assets
    import twin_resources

    for package in (twin_assets, twin_resources):
        with pytest.raises(AttributeError, match="no attribute 'nothing_here'"):
            package.nothing_here  # noqa: B018


# One wrong import for each contract of pyproject.toml, in its order: (importing module, imported).
CIRCULAR_IMPORT = (
    "twin_assets.evaluation.statistics.rates",
    "twin_assets.evaluation.statistics.bootstrap",
)
WRONG_IMPORTS = (
    ("twin_assets.corpus.cleaning", "twin_sensors.jobs"),
    CIRCULAR_IMPORT,
    ("twin_resources.storage.tables.tables", "twin_resources.registry.registry"),
    ("twin_resources.quality.ledger.ledger", "twin_resources.quality.judges.judge"),
    ("twin_resources.gateway.request_path", "twin_resources.gateway.api.routes"),
    ("twin_assets.corpus.cleaning", "twin_assets.training.train"),
    ("twin_resources.statistics.bounds", "polars"),
    ("twin_resources.gateway.provider", "dagster"),
    ("twin_resources.gateway.provider", "twin_cli.running"),
)


def write_skeleton(folder: Path) -> None:
    """Write every module of the project as an empty file, with the project's contracts."""
    for package in ("twin_resources", "twin_assets", "twin_sensors", "deploy/twin_cli"):
        for path in (ROOT / package).rglob("*.py"):
            target = folder / path.relative_to(ROOT / "deploy" if "deploy" in package else ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    dagster_modules = {"dagster_resources": "dagster", "dagster_history": "dagster"}
    dagster_modules["erasure/dagster_records"] = "dagster"
    for name, imported in dagster_modules.items():  # ignored imports of a contract must exist
        (folder / "twin_resources" / f"{name}.py").write_text(f"import {imported}\n")
    (folder / "twin_assets" / "definitions.py").write_text("import twin_sensors.jobs\n")
    shutil.copy(ROOT / "pyproject.toml", folder)


def lint_report(folder: Path) -> str:
    """Return the import-linter report on a folder, without color codes."""
    completed = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert completed.returncode in (0, 1), completed.stdout + completed.stderr
    return re.sub(r"\x1b\[[0-9;]*m", "", completed.stdout)


def test_each_contract_fails_on_a_wrong_import(tmp_path: Path) -> None:
    write_skeleton(tmp_path)
    assert f"{len(WRONG_IMPORTS)} kept, 0 broken" in lint_report(tmp_path)
    for importing, imported in (*WRONG_IMPORTS, CIRCULAR_IMPORT[::-1]):
        path = tmp_path / (importing.replace(".", "/") + ".py")
        path.write_text(f"{path.read_text()}import {imported}\n")
    report = lint_report(tmp_path)
    assert f"0 kept, {len(WRONG_IMPORTS)} broken" in report
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    details = report.partition("Broken contracts")[2]
    for contract, (importing, imported) in zip(contracts["contracts"], WRONG_IMPORTS, strict=True):
        after = details.partition(contract["name"])[2]
        section = after.split("\n-----")[1]
        expected = f"{importing} -> {imported.split('.')[0]}"
        if contract["type"] == "acyclic_siblings":
            expected = f"No cycles are allowed in {importing.rpartition('.')[0]}"
        assert expected in section, f"{contract['name']}: {section}"
