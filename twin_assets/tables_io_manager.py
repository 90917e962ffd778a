"""Load Lance tables for downstream assets and interactive use, and check the outputs of assets.

Scope: loading a table in the annotated type, and refusing a frame as an asset's output.
Out of scope: writing (assets write with `Tables.sync`, which writes only changes).
Method: https://docs.dagster.io/guides/build/io-managers/defining-a-custom-io-manager
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_origin

import dagster as dg
import polars as pl

from twin_assets.analytics.project import ALL_AUTHORS
from twin_resources.errors import TwinError
from twin_resources.settings import load_settings
from twin_resources.storage.tables.tables import SyncResult, Tables

if TYPE_CHECKING:
    from collections.abc import Sequence

Frame = pl.DataFrame | pl.LazyFrame


class TablesIOManager(dg.ConfigurableIOManager):
    """I/O manager for `pl.DataFrame` (the default), `pl.LazyFrame`, or a dict of them by author.

    An unpartitioned asset that depends on a partitioned one annotates `dict[str, pl.LazyFrame]` (or
    `dict[str, pl.DataFrame]`). The input's metadata may set `columns` to a list of the columns to
    read. It may set `allow_missing_partitions` to true to omit authors whose table was never
    materialized. The table of an unpartitioned asset covers all authors.
    """

    home: str = ""

    def load_input(self, context: dg.InputContext) -> Frame | dict[str, Frame]:
        """Read the upstream asset's table for each requested partition.

        Raises:
            TableNotFoundError: the upstream asset was never materialized for a partition.
            TwinError: there are several partitions, but the annotation is a single frame.
        """
        annotation = context.dagster_type.typing_type
        asset = context.asset_key.path[-1]
        authors = (
            list(context.asset_partition_keys) if context.has_asset_partitions else [ALL_AUTHORS]
        )
        metadata = context.definition_metadata or {}
        columns: Sequence[str] | None = metadata.get("columns")
        tables = self._tables()
        if get_origin(annotation) is dict or annotation is dict:
            if metadata.get("allow_missing_partitions"):
                authors = [author for author in authors if tables.exists(asset, author)]
            is_lazy = pl.LazyFrame in getattr(annotation, "__args__", ())
            return {author: _frame(tables, asset, author, columns, is_lazy) for author in authors}
        if len(authors) != 1:
            raise TwinError(
                f"load {asset} as one frame",
                found=f"{len(authors)} partitions",
                next_step="annotate the input as dict[str, pl.LazyFrame], or pass a partition_key",
            )
        return _frame(tables, asset, authors[0], columns, annotation is pl.LazyFrame)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Accept a `SyncResult`, whose numbers become metadata, or None if the table is written.

        Raises:
            TwinError: the output is of another type, which would not be stored.
        """
        if obj is None:
            return
        if not isinstance(obj, SyncResult):
            raise TwinError(
                f"store the output of {context.asset_key.to_user_string()}",
                found=f"a value of type {type(obj).__name__}",
                next_step="write the table with `Tables.sync`, and return its result or None",
            )
        context.add_output_metadata(obj.metadata())

    def _tables(self) -> Tables:
        from twin_resources.storage.state.state import State

        settings = load_settings(self.home or None)
        return Tables(settings.tables_base, state=State.open(settings.state_address))


def _frame(
    tables: Tables, asset: str, author: str, columns: Sequence[str] | None, lazy: bool
) -> Frame:
    if not lazy:
        return tables.read(asset, author, columns=columns)
    frame = tables.scan(asset, author)
    return frame.select(columns) if columns else frame
