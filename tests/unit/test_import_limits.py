"""Test the limits of imports: heavy packages that stay unloaded.

Imports run in a new interpreter, because this one has already imported everything.
"""

from __future__ import annotations

import ast
import subprocess
import sys
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
