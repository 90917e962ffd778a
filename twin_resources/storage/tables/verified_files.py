"""Record in which files of a table a claim was verified, so that a check reads only new files.

Scope: separating verified files from new files, reading the rows of new files, and recording
verified files.
Out of scope: the claims themselves, and claims about several rows at once.
Method: Lance never changes a data file. It writes new files and lists the deleted rows of old
ones (https://lance.org/format/table/). A claim verified for every row of a file therefore still
holds after later writes. Compaction writes new files, which are checked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa

from twin_resources.storage.state.state_tables import upsert, verified_files
from twin_resources.storage.tables.store import StoredTable, scan_batches

if TYPE_CHECKING:
    from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class UnverifiedRows:
    """The rows of one table version for which a claim is not yet verified.

    Attributes:
        claim: name of the claim.
        version: version of the claim; a new one makes every row unverified.
        row_count: number of rows in the whole table.
        fragments: the fragments that must still be checked.
    """

    table: StoredTable
    state: State
    claim: str
    version: str
    row_count: int
    fragments: tuple[Any, ...]

    def read_batches(self, columns: Sequence[str], *, batch_size: int) -> Iterator[pl.DataFrame]:
        """Yield columns of these rows in frames of at most `batch_size` rows, unordered.

        The first frame is empty. Columns that the table lacks are omitted.
        """
        names = [name for name in columns if name in self.table.columns]
        yield pl.DataFrame(pl.from_arrow(self.table.dataset.schema.empty_table().select(names)))
        if self.fragments:
            yield from scan_batches(
                self.table, names, batch_size=batch_size, fragments=self.fragments
            )

    def mark_verified(self) -> None:
        """Record that the claim holds for every row of this version."""
        files = sorted(_fragment_files(fragment) for fragment in self.table.dataset.get_fragments())
        key = {"table_uri": self.table.uri, "claim": self.claim}
        with self.state.transaction() as connection:
            row = {**key, "version": self.version, "files": files}
            upsert(connection, verified_files, [row])


def find_unverified_rows(
    table: StoredTable, state: State, *, claim: str, version: str
) -> UnverifiedRows:
    """Return the rows for which a claim about single rows must still be verified."""
    with state.read_transaction() as connection:
        recorded_files = connection.execute(
            sa.select(verified_files.c.files).where(
                verified_files.c.table_uri == table.uri,
                verified_files.c.claim == claim,
                verified_files.c.version == version,
            )
        ).scalar()
    verified_fragments = frozenset[str](recorded_files or ())
    new_fragments = tuple(
        fragment
        for fragment in table.dataset.get_fragments()
        if _fragment_files(fragment) not in verified_fragments
    )
    return UnverifiedRows(table, state, claim, version, table.dataset.count_rows(), new_fragments)


def _fragment_files(fragment: Any) -> str:
    """Return the names of a fragment's data files, which are random and thus identify it."""
    return " ".join(sorted(file.path for file in fragment.metadata.files))
