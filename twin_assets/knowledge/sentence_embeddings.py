"""The asset `sentence_embeddings`: which sentence of a quoted paragraph answers.

Belongs here: the asset. Does not belong here: cutting (`quotable_rows`), choosing the sentence
(`twin_resources/models/quotes`).
"""

import dagster as dg

from twin_assets.corpus.cleaned_documents import cleaned_documents
from twin_assets.knowledge import quotable_rows
from twin_assets.table_assets import materialized, table_asset
from twin_resources.dagster_resources import EmbedderResource
from twin_resources.models.quotes.passages import PASSAGES_VERSION
from twin_resources.models.quotes.quoter import SENTENCES, update_index
from twin_resources.processes.progress_lines import SyncProgressLines
from twin_resources.storage.tables.tables import Tables

# Last of an import: paragraphs are found and quoted without it, only no sentence is marked.
AFTER_THE_OTHERS = {"dagster/priority": "-1"}


@table_asset(
    group_name="knowledge",
    deps=[cleaned_documents],
    code_version=PASSAGES_VERSION,
    op_tags=AFTER_THE_OTHERS,
)
def sentence_embeddings(
    context: dg.AssetExecutionContext, embedder: EmbedderResource, tables: dg.ResourceParam[Tables]
) -> dg.MaterializeResult:
    """The sentences of those paragraphs with their vectors: the one that answers is marked."""
    author, model = context.partition_key, embedder.embedder()
    progress = SyncProgressLines(context.log.info, "embedding sentences")
    done = quotable_rows.update_sentences(tables, author, model, progress=progress)
    if done.rows:
        update_index(tables, SENTENCES, author)
    return materialized(done, {"embedder": model.revision})
