"""Define the asset `interactions` and its check: readers' questions, answers and feedback.

Scope: the asset and the check. Out of scope: the ledger and its frame
(`twin_resources/quality/ledger`) and pairs made from edits (`preference_dataset`).
"""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

from twin_assets.feedback import redaction
from twin_assets.partitions import authors
from twin_assets.table_assets import report_materialization, table_asset
from twin_resources.quality.ledger import interactions_frame
from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.quality.retraining import alarm_records
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


@table_asset(group_name="feedback", code_version=redaction.REDACTION_VERSION)
def interactions(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    tables: dg.ResourceParam[Tables],
) -> dg.MaterializeResult:
    """The ledger's answers from the last 90 days, one row per trace, without personal data.

    Rows include votes, judgements and edits. The trace store is read first. If it cannot be
    reached, the ledger's last state is used, and the metadata reports the failure.
    """
    author = context.partition_key
    ledger = Ledger.from_settings(settings)
    report = ledger.sync(datetime.now(UTC))
    frame = ledger.interactions(author)
    sync_result = tables.sync(
        frame,
        "interactions",
        author=author,
        key="trace_id",
        function=redaction.redact_personal_data,
        version=redaction.REDACTION_VERSION,
        schema=interactions_frame.interaction_columns(),
        row_key="trace_id",
    )
    return report_materialization(sync_result, _metadata(frame, ledger, author, report.message))


def _metadata(
    frame: pl.DataFrame, ledger: Ledger, author: str, sync_message: str
) -> dict[str, Any]:
    with ledger.state.read_transaction() as connection:
        excluded_counts = alarm_records.count_excluded_scores(connection, author)
    return {
        "with_votes": int((frame["votes"] > 0).sum()),
        "with_edits": int(frame["edit"].is_not_null().sum()),
        "simulated": int(frame["simulated"].sum()),
        "unknown_propensity": frame["propensity"].null_count(),
        "readers": frame["voters"].explode().drop_nulls().n_unique(),
        "scores_not_counted": excluded_counts,
        "sync": sync_message,
    }


@dg.asset_check(asset=interactions, partitions_def=authors, blocking=True)
def no_text_of_a_reader_holds_personal_data(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """No text matches a pattern of personal data, such as an e-mail address or a phone number."""
    columns = ["trace_id", *redaction.TEXT_COLUMNS]
    frame = tables.read("interactions", context.partition_key, columns=columns)
    remaining_rows = redaction.find_personal_data(frame)
    return dg.AssetCheckResult(
        passed=remaining_rows.is_empty(),
        metadata={
            "texts": frame.height * len(redaction.TEXT_COLUMNS),
            "rows_with_personal_data": remaining_rows.height,
            "kinds": sorted(remaining_rows["kinds"].explode().drop_nulls().unique()),
            "first_traces": remaining_rows.head(5)["trace_id"].cast(pl.String).to_list(),
        },
    )
