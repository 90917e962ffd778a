"""Remember the files of a table for which a claim holds, so that a check reads only new ones.

Scope: separating checked files from new ones, reading the rows of new files,
and recording checked ones. Out of scope: claims, and claims about several rows at once.
Method: Lance never changes a data file; it writes others and lists the deleted rows of a file
(https://lance.org/format/table/). A claim that held for each row of a file therefore holds for
the remaining ones, regardless of later writers. Compaction writes new files, which are checked
again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa

from twin_resources.storage.state.state_tables import verified_files
from twin_resources.storage.tables.store import StoredTable, scan_fragments

if TYPE_CHECKING:
    from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class UnverifiedRows:
    """The rows of one version of a table that are not yet checked for a claim.

    Attributes:
        claim: name of the claim.
        version: version of the claim; a new one makes every row unverified.
        rows: number of rows of the whole table.
        fragments: fragments to check.
    """

    table: StoredTable
    state: State
    claim: str
    version: str
    rows: int
    fragments: tuple[Any, ...]

    def read_batches(self, columns: Sequence[str], *, rows: int) -> Iterator[pl.DataFrame]:
        """Yield columns of these rows, at most `rows` at a time, unordered, and at least one part.

        Columns that the table lacks are left out.
        """
        return scan_fragments(self.table, columns, rows=rows, fragments=self.fragments)

    def mark_verified(self) -> None:
        """Remember that the claim holds for every row of this version."""
        files = sorted(_fragment_files(part) for part in self.table.dataset.get_fragments())
        own_records = (
            verified_files.c.table_uri == self.table.uri,
            verified_files.c.claim == self.claim,
        )
        with self.state.transaction() as connection:
            connection.execute(sa.delete(verified_files).where(*own_records))
            connection.execute(
                sa.insert(verified_files).values(
                    table_uri=self.table.uri, claim=self.claim, version=self.version, files=files
                )
            )


def find_unverified_rows(
    table: StoredTable, state: State, *, claim: str, version: str
) -> UnverifiedRows:
    """Return the rows to check for a claim about single rows."""
    with state.read_transaction() as connection:
        known = connection.execute(
            sa.select(verified_files.c.files).where(
                verified_files.c.table_uri == table.uri,
                verified_files.c.claim == claim,
                verified_files.c.version == version,
            )
        ).scalar()
    verified_fragments = frozenset[str](known or ())
    new = tuple(
        part
        for part in table.dataset.get_fragments()
        if _fragment_files(part) not in verified_fragments
    )
    return UnverifiedRows(table, state, claim, version, table.dataset.count_rows(), new)


def _fragment_files(fragment: Any) -> str:
    """Return the data files of a fragment; their random names make the result unique."""
    return " ".join(sorted(file.path for file in fragment.metadata.files))
