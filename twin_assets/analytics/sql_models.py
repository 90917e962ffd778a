"""Define the marts in Dagster: one asset per file of `dbt_like_sql/models`, one check per test.

Scope: assets and check specs built from the project's declarations, and the metadata of a run.
Out of scope: reading the project (`project.py`) and building a mart (`mart.py`).

Each test runs as a check within its model's step: the test takes only milliseconds, but a separate
process would take seconds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from twin_assets.analytics.project import PROJECT_FOLDER, Model, Project, read_project
from twin_assets.partitions import authors
from twin_assets.table_assets import report_materialization
from twin_resources.storage.tables.tables import Tables

if TYPE_CHECKING:
    from twin_assets.analytics.mart import TestOutcome


def build_sql_assets(folder: Path = PROJECT_FOLDER) -> list[dg.AssetsDefinition]:
    """Return an asset for each model of a project, in the asset group `analytics`.

    Raises:
        SqlProjectError: the project is invalid; the message names the file.
    """
    project = read_project(folder)
    return [_build_asset(project, model, folder) for model in project.models]


def _build_asset(project: Project, model: Model, folder: Path) -> dg.AssetsDefinition:
    author_partitions = authors if model.partitions == "authors" else None

    @dg.asset(
        name=model.name,
        description=model.description,
        group_name="analytics",
        partitions_def=author_partitions,
        deps=_list_upstream_assets(model),
        check_specs=[
            dg.AssetCheckSpec(
                name=test.name,
                asset=model.name,
                description=test.description or f"dbt's data test {test.kind}",
                blocking=test.severity == "error",
                partitions_def=author_partitions,
            )
            for test in model.tests
        ],
        io_manager_key="tables_io",
        kinds={"duckdb", "lance"},
        tags={"twin/partitions": model.partitions},  # for the jobs' selections
        code_version=model.code_hash,
        metadata={**_column_metadata(model), **_code_reference(folder / model.file)},
    )
    def mart(
        context: dg.AssetExecutionContext,
        tables: dg.ResourceParam[Tables],
    ) -> dg.MaterializeResult:
        from twin_assets.analytics.mart import build_mart

        known_authors = context.instance.get_dynamic_partitions(str(authors.name))
        built_mart = build_mart(
            project,
            model,
            tables=tables,
            authors=[context.partition_key] if author_partitions else sorted(known_authors),
        )
        return report_materialization(
            built_mart.sync_result,
            {"sql": _format_sql(built_mart.sql)},
            check_results=[_to_check_result(outcome) for outcome in built_mart.outcomes],
        )

    return mart


def _to_check_result(outcome: "TestOutcome") -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=outcome.test.name,
        passed=outcome.invalid_row_count == 0,
        severity=dg.AssetCheckSeverity(outcome.test.severity.upper()),
        metadata={"wrong_rows": outcome.invalid_row_count, "sql": _format_sql(outcome.sql)},
    )


def _format_sql(sql: str) -> dg.MetadataValue:
    return dg.MetadataValue.md(f"```sql\n{sql}\n```")


def _list_upstream_assets(model: Model) -> list[str]:
    """Return the names of the upstream assets, without duplicates."""
    return list(dict.fromkeys([*model.refs, *(name for _, name in model.sources)]))


def _column_metadata(model: Model) -> Mapping[str, Any]:
    columns = [
        dg.TableColumn(item.name, type=item.data_type, description=item.description or None)
        for item in model.columns
    ]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def _code_reference(file: Path) -> Mapping[str, Any]:
    reference = dg.LocalFileCodeReference(file_path=str(file), label=file.name)
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}
