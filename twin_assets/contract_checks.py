"""Define a blocking check for each table that has a contract.

Scope: the check factory, and the mapping from asset to schema.
Out of scope: the schemas (`corpus_tables.py`, `instruction_tables.py`), and validating rows
(`corpus/contracts.py`).
"""

import dagster as dg
import dataframely as dy

from twin_assets.corpus import contracts
from twin_assets.corpus.cleaned_documents import cleaned_documents
from twin_assets.corpus.corpus_tables import CleanedDocuments, RawPosts, column_types
from twin_assets.corpus.raw_posts import raw_posts
from twin_assets.instructions.instruction_dataset import instruction_dataset
from twin_assets.instructions.instruction_tables import InstructionDataset
from twin_assets.knowledge.embeddings import embeddings
from twin_assets.knowledge.passages import Passages
from twin_assets.partitions import authors
from twin_resources.storage.tables.tables import Tables


def build_contract_check(
    asset: dg.AssetsDefinition, schema: type[dy.Schema]
) -> dg.AssetChecksDefinition:
    """Return a blocking check that each row of the asset's table satisfies its schema's rules."""
    table = asset.key.path[-1]

    @dg.asset_check(
        asset=asset,
        name="rows_keep_their_contract",
        description=f"Each row satisfies the contract `{schema.__module__}.{schema.__name__}`.",
        partitions_def=authors,
        blocking=True,
    )
    def check(
        context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
    ) -> dg.AssetCheckResult:
        rows = tables.scan(table, context.partition_key)
        columns = [name for name in column_types(schema) if name in rows.collect_schema()]
        problems = contracts.check_rows(rows.select(columns).collect(), schema)
        return dg.AssetCheckResult(
            passed=problems.is_satisfied,
            metadata={
                "rows": problems.rows,
                "bad_rows": problems.broken_rows,
                "by_rule": dict(problems.by_rule),
                "missing_columns": list(problems.missing),
                "wrong_types": dict(problems.wrong_types or {}),
            },
        )

    return check


raw_posts_keep_their_contract = build_contract_check(raw_posts, RawPosts)
cleaned_documents_keep_their_contract = build_contract_check(cleaned_documents, CleanedDocuments)
embeddings_keep_their_contract = build_contract_check(embeddings, Passages)
instruction_dataset_keeps_its_contract = build_contract_check(
    instruction_dataset, InstructionDataset
)
