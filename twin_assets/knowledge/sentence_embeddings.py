"""The asset `sentence_embeddings` and its check: what an answer quotes stands in the post.

Belongs here: the asset and the check. Does not belong here: cutting (`sentence_windows`), quoting
(`twin_resources/models/quotes`).
"""

import dagster as dg
import polars as pl

from twin_assets.corpus.cleaned_documents import cleaned_documents
from twin_assets.knowledge import sentence_windows
from twin_assets.partitions import authors
from twin_assets.table_assets import materialized, table_asset
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.models.quotes.quoter import TABLE, update_index
from twin_resources.models.quotes.windows import WINDOWS_VERSION
from twin_resources.processes.progress_lines import SyncProgressLines
from twin_resources.storage.tables.tables import Tables

ROWS_AT_ONCE = 50_000  # of windows: 15 MB, for which the documents' texts are scanned once
# Last of what an import has ready: a question finds its passages without them, and of 461 posts
# they took as long as everything before (151 of 326 s).
AFTER_THE_OTHERS = {"dagster/priority": "-1"}


@table_asset(
    group_name="knowledge",
    deps=[cleaned_documents],
    code_version=WINDOWS_VERSION,
    op_tags=AFTER_THE_OTHERS,
)
def sentence_embeddings(
    context: dg.AssetExecutionContext, embedder: EmbedderResource, tables: dg.ResourceParam[Tables]
) -> dg.MaterializeResult:
    """Windows of up to three sentences with their vectors: what an answer may quote."""
    author, model = context.partition_key, embedder.embedder()
    progress = SyncProgressLines(context.log.info, "embedding sentences")
    done = sentence_windows.update_windows(tables, author, model, progress=progress)
    if done.rows:
        update_index(tables, author)
    return materialized(done, {"embedder": model.revision})


@dg.asset_check(
    asset=sentence_embeddings,
    additional_deps=[cleaned_documents],
    partitions_def=authors,
    blocking=True,
)
def quotations_are_verbatim(
    context: dg.AssetCheckExecutionContext, tables: dg.ResourceParam[Tables]
) -> dg.AssetCheckResult:
    """Each window is, character by character, the part of the kept post that it names.

    A window is looked at once, when it is new.
    """
    author = context.partition_key
    new = tables.unverified(TABLE, author, claim="quotations_are_verbatim", version=WINDOWS_VERSION)
    columns = ["document_id", "start", "end", "text"]
    wrong = sum(
        sentence_windows.misquoted(part, _texts_of(tables, author, part["document_id"]))
        for part in new.parts(columns, rows=ROWS_AT_ONCE)
        if part.height
    )
    if not wrong:
        new.hold()
    return dg.AssetCheckResult(
        passed=wrong == 0, metadata={"windows": new.rows, "not_verbatim": wrong}
    )


def _texts_of(tables: Tables, author: str, documents: pl.Series) -> pl.DataFrame:
    """`document_id` and `text` of these documents, as far as they are kept."""
    listed = ", ".join(f"'{name}'" for name in documents.unique().sort())
    return tables.read(
        "cleaned_documents",
        author,
        columns=["document_id", "text"],
        where=f"kept AND document_id IN ({listed})",
    )
