"""Define the record of a backup: its home's original paths, and hashes of its tables and files.

Scope: the record's fields and its JSON. Out of scope: the bytes (`backup_format.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from twin_resources.errors import TwinError, check_schema

SCHEMA_VERSION = 1
RECORD_NAME = "backup.json"  # written last, so a backup without it is incomplete


@dataclass(frozen=True)
class SavedFile:
    """One saved file.

    Attributes:
        path: path relative to the home or the table, with `/` between parts.
        sha256: hexadecimal hash of the bytes, which is the file's name in the backup.
        mode: permission bits; 0 for a file of a table.
    """

    path: str
    sha256: str
    bytes: int
    mode: int = 0


@dataclass(frozen=True)
class SavedTable:
    """One Lance table, saved while no process wrote to it.

    Attributes:
        data_version: see `Tables.data_version`; empty if the table had no finished version.
    """

    author: str
    asset: str
    lance_version: int
    data_version: str
    rows: int
    files: tuple[SavedFile, ...]

    @property
    def folder(self) -> str:
        """Path relative to the base of the tables."""
        return f"{self.author}/{self.asset}.lance"


@dataclass(frozen=True)
class BackupRecord:
    """A complete backup.

    Attributes:
        made_at: ISO 8601, UTC.
        home, tables_base: their original paths, which are prefixes of paths in files and rows.
        state: the state store as a SQLite file, copied from any kind of database.
    """

    made_at: str
    home: str
    tables_base: str
    has_secrets: bool
    state: SavedFile
    files: tuple[SavedFile, ...]
    tables: tuple[SavedTable, ...]

    @property
    def bytes(self) -> int:
        """Size of all files, counting equal contents once."""
        sizes = {self.state.sha256: self.state.bytes}
        sizes |= {file.sha256: file.bytes for file in self.files}
        sizes |= {file.sha256: file.bytes for table in self.tables for file in table.files}
        return sum(sizes.values())

    def to_json(self) -> bytes:
        return json.dumps({"schema": SCHEMA_VERSION, **asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes, *, address: str) -> BackupRecord:
        """Parse the record.

        Raises:
            TwinError: the text is not a record, or its schema is newer.
        """
        action = f"read the backup {address}"
        try:
            document: dict[str, Any] = json.loads(text)
            check_schema(action, int(document.pop("schema")), SCHEMA_VERSION)
            tables = [
                SavedTable(**(table | {"files": _parse_files(table["files"])}))
                for table in document.pop("tables")
            ]
            state, files = SavedFile(**document.pop("state")), _parse_files(document.pop("files"))
            return cls(**document, state=state, files=files, tables=tuple(tables))
        except (ValueError, KeyError, TypeError) as error:
            raise TwinError(
                action,
                found=f"a {RECORD_NAME} that cannot be read ({type(error).__name__}: {error})",
                next_step="specify a backup from `twin backup`",
            ) from error


def _parse_files(entries: list[dict[str, Any]]) -> tuple[SavedFile, ...]:
    return tuple(SavedFile(**entry) for entry in entries)
