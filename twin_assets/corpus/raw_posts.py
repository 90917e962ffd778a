"""The asset `raw_posts`: every post of an author's sources as it came, one row a post.

Belongs here: the asset. Does not belong here: reading files (`importing`, `importers`), cleaning.
"""

import dagster as dg

from twin_assets.corpus import importing
from twin_assets.corpus.schema import RawPosts, columns_of
from twin_assets.partitions import authors
from twin_resources.dagster_resources import SettingsResource, TablesResource


@dg.asset(
    partitions_def=authors,
    group_name="corpus",
    io_manager_key="tables_io",
    kinds={"lance"},
    code_version=importing.IMPORT_VERSION,
)
def raw_posts(
    context: dg.AssetExecutionContext, settings: SettingsResource, tables: TablesResource
) -> dg.MaterializeResult:
    """Every post as it came; an edited file replaces its row, a deleted one leaves a tombstone."""
    author = settings.author(context.partition_key)
    store = tables.tables()
    inventory = importing.take_inventory(author.sources)
    stored = None
    if store.exists("raw_posts", author.slug):
        stored = store.read("raw_posts", author.slug, columns=importing.STORED_COLUMNS)
    frame = importing.inventory_frame(inventory, stored)
    done = store.rework(
        frame,
        "raw_posts",
        author=author.slug,
        key="source_id",
        function=lambda rows: importing.read_rows(rows, inventory),
        version=importing.IMPORT_VERSION,
        schema=columns_of(RawPosts),
        row_key="source_id",
    )
    changed = importing.changes(frame, stored)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(done.data_version),
        metadata={
            **done.metadata(),
            **{f"posts_{kind}": count for kind, count in changed.counts().items()},
            "posts": len(inventory.posts),
            "layouts": [folder.layout for folder in inventory.folders],
            "files_that_are_no_posts": inventory.skipped,
        },
    )
