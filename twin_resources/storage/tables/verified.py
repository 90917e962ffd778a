"""Which files of a table a claim was found true of, so that a check costs what was written since.

Scope: telling files that were looked at from new ones, reading the new ones' rows, and
remembering. Out of scope: claims, and claims about several rows at once.
Method: Lance never changes a data file; it writes others and lists which rows of a file are gone
(https://lance.org/format/table/). So what held for each row of a file holds for those that are
left, whoever writes the table next. Compaction writes new files, which are looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa

from twin_resources.storage.state.state_tables import verified_files
from twin_resources.storage.tables.store import StoredTable, parts_of

if TYPE_CHECKING:
    from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class Unverified:
    """The rows of one version of a table for which a claim is not known to hold.

    Attributes:
        claim: its name.
        version: of the claim; another one makes every row unverified.
        rows: of the whole table.
        fragments: that are to be looked at.
    """

    table: StoredTable
    state: State
    claim: str
    version: str
    rows: int
    fragments: tuple[Any, ...]

    def parts(self, columns: Sequence[str], *, rows: int) -> Iterator[pl.DataFrame]:
        """Some columns of these rows, at most `rows` at a time and in no order; at least one part.

        Columns that the table has not are left out.
        """
        return parts_of(self.table, columns, rows=rows, fragments=self.fragments)

    def hold(self) -> None:
        """Remember that the claim holds for every row of this version."""
        files = sorted(_files(part) for part in self.table.dataset.get_fragments())
        mine = (
            verified_files.c.table_uri == self.table.uri,
            verified_files.c.claim == self.claim,
        )
        with self.state.transaction() as connection:
            connection.execute(sa.delete(verified_files).where(*mine))
            connection.execute(
                sa.insert(verified_files).values(
                    table_uri=self.table.uri, claim=self.claim, version=self.version, files=files
                )
            )


def unverified(table: StoredTable, state: State, *, claim: str, version: str) -> Unverified:
    """What is to be looked at for a claim about single rows."""
    with state.reading() as connection:
        known = connection.execute(
            sa.select(verified_files.c.files).where(
                verified_files.c.table_uri == table.uri,
                verified_files.c.claim == claim,
                verified_files.c.version == version,
            )
        ).scalar()
    seen = frozenset[str](known or ())
    new = tuple(part for part in table.dataset.get_fragments() if _files(part) not in seen)
    return Unverified(table, state, claim, version, table.dataset.count_rows(), new)


def _files(fragment: Any) -> str:
    """The data files of a fragment: their names are random, so no other fragment has the same."""
    return " ".join(sorted(file.path for file in fragment.metadata.files))
