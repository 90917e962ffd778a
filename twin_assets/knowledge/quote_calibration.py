"""Define the asset `quote_calibration`: the minimum score at which paragraphs answer a question.

Scope: the asset. Out of scope: the data and the calibration (`quote_calibration_rows`).
"""

import dagster as dg

from twin_assets.knowledge import quote_calibration_rows
from twin_assets.knowledge.passage_embeddings import passage_embeddings
from twin_assets.table_assets import report_materialization, table_asset
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.models.quotes.calibration import CALIBRATION_VERSION
from twin_resources.models.quotes.quoter import CALIBRATION_TABLE
from twin_resources.storage.tables.tables import Tables


@table_asset(group_name="knowledge", deps=[passage_embeddings], code_version=CALIBRATION_VERSION)
def quote_calibration(
    context: dg.AssetExecutionContext, embedder: EmbedderResource, tables: dg.ResourceParam[Tables]
) -> dg.MaterializeResult:
    """One row with the score below which the author's posts do not answer a question."""
    author = context.partition_key
    sync_result = quote_calibration_rows.update_calibration(tables, author, embedder.embedder())
    rows = tables.read(CALIBRATION_TABLE, author).drop("mean").to_dicts()
    return report_materialization(sync_result, rows[0] if rows else {})
