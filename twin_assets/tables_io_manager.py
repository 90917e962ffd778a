"""Load Lance tables for downstream assets and interactive use, and check the outputs of assets.

Scope: loading a table, and refusing outputs that would not be stored.
Out of scope: writing (assets write with `Tables.sync`, which writes only changes).
Method: https://docs.dagster.io/guides/build/io-managers/defining-a-custom-io-manager
"""

from __future__ import annotations

from typing import Any

import dagster as dg
import polars as pl

from twin_assets.analytics.project import ALL_AUTHORS
from twin_resources.errors import TwinError
from twin_resources.settings import load_settings
from twin_resources.storage.tables.tables import SyncResult, Tables


class TablesIOManager(dg.ConfigurableIOManager):
    """I/O manager for `pl.DataFrame`; the table of an unpartitioned asset covers all authors."""

    home: str = ""

    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        """Read the upstream asset's table for the requested partition.

        Raises:
            TableNotFoundError: the upstream asset was never materialized for the partition.
            TwinError: there are several partitions.
        """
        asset = context.asset_key.path[-1]
        authors = (
            list(context.asset_partition_keys) if context.has_asset_partitions else [ALL_AUTHORS]
        )
        if len(authors) != 1:
            raise TwinError(
                f"load {asset} as one frame",
                found=f"{len(authors)} partitions",
                next_step="pass a partition_key, or read each author's table with "
                "`TablesResource().tables().read(asset, author)`",
            )
        return self._tables().read(asset, authors[0])

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Accept a `SyncResult`, whose numbers become metadata, or None after a write elsewhere.

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
        from twin_resources.storage.state.home_state import open_home_state

        settings = load_settings(self.home or None)
        return Tables(settings.tables_base, state=open_home_state(settings))
