"""What a backup says of itself: where the home lay, its tables and files, each by hash.

Scope: the record's fields and its JSON. Out of scope: the bytes (`backup_form.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from twin_resources.errors import TwinError

SCHEMA = 1
NAME = "backup.json"  # written last: a backup without it is none


@dataclass(frozen=True)
class SavedFile:
    """One file.

    Attributes:
        path: below the home or the table, `/` between parts.
        sha256: of its bytes, hex; under this name they lie in the backup.
        mode: permission bits; of a file of a table 0.
    """

    path: str
    sha256: str
    bytes: int
    mode: int = 0


@dataclass(frozen=True)
class SavedTable:
    """One Lance table as it was while nobody wrote to it.

    Attributes:
        data_version: see `Tables.data_version`; empty: the table had no finished version.
    """

    author: str
    asset: str
    lance_version: int
    data_version: str
    rows: int
    files: tuple[SavedFile, ...]

    @property
    def folder(self) -> str:
        """Below the base of the tables."""
        return f"{self.author}/{self.asset}.lance"


@dataclass(frozen=True)
class BackupRecord:
    """A whole backup.

    Attributes:
        made_at: ISO 8601, UTC.
        home, tables_base: where they lay; paths in files and rows begin with them.
        state: the state store as a SQLite file, whichever database it was in.
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
        """Of all files, each content once."""
        sizes = {self.state.sha256: self.state.bytes}
        sizes |= {file.sha256: file.bytes for file in self.files}
        sizes |= {file.sha256: file.bytes for table in self.tables for file in table.files}
        return sum(sizes.values())

    def to_json(self) -> bytes:
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes, *, place: str) -> BackupRecord:
        """Read it.

        Raises:
            TwinError: it is none, or of a newer version.
        """
        tried = f"read the backup {place}"
        try:
            document: dict[str, Any] = json.loads(text)
            number = int(document.pop("schema"))
            if number > SCHEMA:
                raise TwinError(
                    tried,
                    found=f"schema number {number}; this code knows up to {SCHEMA}",
                    next_step="run the newer llm-twin that made it",
                )
            tables = [
                SavedTable(**(table | {"files": _files(table["files"])}))
                for table in document.pop("tables")
            ]
            state, files = SavedFile(**document.pop("state")), _files(document.pop("files"))
            return cls(**document, state=state, files=files, tables=tuple(tables))
        except (ValueError, KeyError, TypeError) as error:
            raise TwinError(
                tried,
                found=f"a {NAME} that says something else ({type(error).__name__}: {error})",
                next_step="name a backup that `twin backup` made",
            ) from error


def _files(entries: list[dict[str, Any]]) -> tuple[SavedFile, ...]:
    return tuple(SavedFile(**entry) for entry in entries)
