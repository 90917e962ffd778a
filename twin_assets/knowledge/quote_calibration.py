"""The asset `quote_calibration`: from which score on an author's sentences answer a question.

Belongs here: the asset, and which windows and whose sentences it learns from. Does not belong here:
how (`quote_calibrating.py`).
"""

import math

import dagster as dg
import polars as pl

from twin_assets.knowledge import quote_calibrating
from twin_assets.knowledge.sentence_embeddings import sentence_embeddings
from twin_assets.partitions import authors
from twin_resources.dagster_resources import EmbedderResource, TablesResource
from twin_resources.models.quotes.calibration import CALIBRATION_VERSION, drawn
from twin_resources.models.quotes.quoter import CALIBRATION_TABLE, TABLE
from twin_resources.quality.judges.texts import bundled_hands
from twin_resources.storage.tables.tables import Tables

# Up to so many windows all are read, and any change calibrates anew. Of a larger corpus so many are
# drawn, and it is calibrated again when it has grown by a tenth: reading 4,000,000 vectors for ten
# new posts would cost more than the posts.
MOST_WINDOWS = 20_000
GROWN_BY = 1.1


@dg.asset(
    deps=[sentence_embeddings],
    partitions_def=authors,
    group_name="knowledge",
    io_manager_key="tables_io",
    kinds={"lance"},
    code_version=CALIBRATION_VERSION,
)
def quote_calibration(
    context: dg.AssetExecutionContext, embedder: EmbedderResource, tables: TablesResource
) -> dg.MaterializeResult:
    """The score below which the author has not written about a question; one row."""
    author, store, model = context.partition_key, tables.tables(), embedder.embedder()
    names = store.read(TABLE, author, columns=["window_id"])["window_id"].to_list()
    state = (
        store.data_version(TABLE, author)
        if len(names) <= MOST_WINDOWS
        else f"about {GROWN_BY} ^ {int(math.log(len(names), GROWN_BY))} windows"
    )
    asked = pl.DataFrame({"author": [author] if names else [], "windows": [state] if names else []})

    def calibrate(_: pl.DataFrame) -> pl.DataFrame:
        chosen = [names[place] for place in drawn(names, MOST_WINDOWS)]
        others = [text for hand in bundled_hands(without=[author]) for _, text in hand.passages]
        return quote_calibrating.calibration_row(
            author,
            _read(store, author, chosen, whole=len(chosen) == len(names)),
            quote_calibrating.long_sentences(others),
            model,
        )

    done = store.sync(
        asked.cast(pl.String),
        CALIBRATION_TABLE,
        author=author,
        key="author",
        function=calibrate,
        version=f"{CALIBRATION_VERSION}:{model.revision}",
        schema=quote_calibrating.calibration_columns(model.dimension),
        row_key="author",
    )
    row = store.read(CALIBRATION_TABLE, author).drop("mean").to_dicts()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(done.data_version),
        metadata={**done.metadata(), **(row[0] if row else {})},
    )


def _read(tables: Tables, author: str, names: list[str], *, whole: bool) -> pl.DataFrame:
    columns = ["window_id", "document_id", "start", "end", "text", "vector"]
    if whole:
        return tables.read(TABLE, author, columns=columns).sort("window_id")
    wanted = pl.Series("window_id", names).to_frame()
    return (
        tables.scan(TABLE, author)
        .select(columns)
        .join(wanted.lazy(), on="window_id", how="semi")
        .collect()
        .sort("window_id")
    )
