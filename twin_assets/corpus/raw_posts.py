"""The asset `raw_posts`: every post of an author's sources as it came, one row a post.

Belongs here: the asset. Does not belong here: reading files (`importing`, `importers`), cleaning.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import polars as pl

from twin_assets.corpus import imported_sources, importing
from twin_assets.corpus.corpus_tables import ImportSources, RawPosts, columns_of
from twin_assets.corpus.inventory import take_inventory
from twin_assets.partitions import authors
from twin_resources.dagster_resources import SettingsResource, TablesResource


@dg.asset(
    partitions_def=authors,
    group_name="corpus",
    io_manager_key="tables_io",
    kinds={"lance"},
    code_version=importing.IMPORT_VERSION,
    check_specs=[
        dg.AssetCheckSpec(
            "every_source_was_read",
            asset="raw_posts",
            description="Every feed answered; the posts of one that did not stay as they were.",
            partitions_def=authors,
        )
    ],
)
def raw_posts(
    context: dg.AssetExecutionContext, settings: SettingsResource, tables: TablesResource
) -> dg.MaterializeResult:
    """Every post as it came; an edited file replaces its row, a deleted one leaves a tombstone."""
    author = settings.author(context.partition_key)
    store = tables.tables()
    stored, imported = imported_sources.stored_import(store, author.slug)
    forgotten = imported_sources.forgotten(store, author.slug)
    with TemporaryDirectory(prefix="twin-import-") as scratch:
        inventory = take_inventory(
            author.sources, include=author.include, imported=imported, scratch=Path(scratch)
        )
        frame = importing.inventory_frame(inventory, stored, forgotten=forgotten)
        done = store.sync(
            frame,
            "raw_posts",
            author=author.slug,
            key="source_id",
            function=lambda rows: importing.read_rows(
                rows,
                inventory,
                earlier=partial(imported_sources.earlier_rows, store, author.slug),
                forgotten=forgotten,
            ),
            version=importing.IMPORT_VERSION,
            schema=columns_of(RawPosts),
            row_key="source_id",
        )
    # After the posts: cut off in between, the exports are parsed again and nothing else happens.
    sources = imported_sources.import_sources_frame(inventory, imported)
    store.sync(
        sources,
        "import_sources",
        author=author.slug,
        key="source",
        function=lambda rows: rows,
        version=importing.IMPORT_VERSION,
        schema=columns_of(ImportSources),
        row_key="source",
    )
    changed = importing.changes(frame, stored)
    failed = [str(one) for one in inventory.failed]
    for line in failed:
        context.log.warning(line)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(done.data_version),
        metadata={
            **done.metadata(),
            **{f"posts_{kind}": count for kind, count in changed.counts().items()},
            "posts": frame.filter(~pl.col("deleted")).height,
            "converted_from": imported_sources.converted_from(store, author.slug),
            "layouts": inventory.layouts,
            "files_that_are_no_posts": inventory.skipped,
            "left_out_of_exports": imported_sources.left_out(sources),
            "exports_unchanged": sorted(inventory.unchanged),
            "sources_not_read": failed,
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="every_source_was_read",
                passed=not failed,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"sources": len(author.sources), "not_read": failed},
            )
        ],
    )
