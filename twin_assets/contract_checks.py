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
from twin_resources.storage.tables.tables import BATCH_ROWS, Tables


def build_contract_check(
    asset: dg.AssetsDefinition, schema: type[dy.Schema]
) -> dg.AssetChecksDefinition:
    """Return a blocking check that each row of the asset's table satisfies its schema's rules.

    Each row is checked once; after a change of the schema, all rows are checked again
    (`tables.verified_files`). Rows that the asset moved to `<asset>_quarantine` are counted by rule
    but do not block, because they are no longer in the table.
    """
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
        author = context.partition_key
        unverified_rows = tables.unverified_rows(
            table,
            author,
            claim="rows_keep_their_contract",
            version=contracts.schema_version(schema),
        )
        problems = contracts.check_batches(
            unverified_rows.read_batches(list(column_types(schema)), batch_size=BATCH_ROWS), schema
        )
        keys = [] if problems.missing else schema.primary_key()
        duplicate_keys = (
            contracts.count_duplicate_keys(tables.read(table, author, columns=keys)) if keys else 0
        )
        if problems.is_satisfied:
            unverified_rows.mark_verified()
        return dg.AssetCheckResult(
            passed=problems.is_satisfied and not duplicate_keys,
            metadata={
                "rows": unverified_rows.row_count,
                "looked_at": problems.rows,
                "bad_rows": problems.broken_rows,
                "by_rule": dict(problems.by_rule),
                "missing_columns": list(problems.missing),
                "wrong_types": dict(problems.wrong_types or {}),
                "keys_given_twice": duplicate_keys,
                "quarantined": contracts.count_quarantined(tables, f"{table}_quarantine", author),
            },
        )

    return check


raw_posts_keep_their_contract = build_contract_check(raw_posts, RawPosts)
cleaned_documents_keep_their_contract = build_contract_check(cleaned_documents, CleanedDocuments)
embeddings_keep_their_contract = build_contract_check(embeddings, Passages)
instruction_dataset_keeps_its_contract = build_contract_check(
    instruction_dataset, InstructionDataset
)
