"""The record of a backup: whose home it was, its tables, and the hash of each file."""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from twin_resources.errors import TwinError, check_schema

SCHEMA_VERSION = 1
RECORD_NAME = "backup.json"  # written last, so a backup without it is incomplete


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
        bytes: size of all files.
        sha256: hexadecimal hash of each file by its name in the tar file.
    """

    schema: int
    made_at: str
    home: str
    tables_base: str
    has_secrets: bool
    bytes: int
    tables: tuple[SavedTable, ...]
    sha256: dict[str, str]

    def to_json(self) -> bytes:
        return TypeAdapter(BackupRecord).dump_json(self, indent=1)

    @classmethod
    def from_json(cls, text: bytes, *, path: object) -> BackupRecord:
        """Parse the record.

        Raises:
            TwinError: the text is not a record, or its schema is newer.
        """
        action = f"read the backup {path}"
        try:
            record = TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            raise TwinError(
                action,
                found=f"a {RECORD_NAME} that cannot be read ({error.errors()[0]['msg']})",
                next_step="specify a backup from `twin backup`",
            ) from error
        check_schema(action, record.schema, SCHEMA_VERSION)
        return record
