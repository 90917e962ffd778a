"""`twin backup` and `twin restore`: what is said about it.

Belongs here: progress, the summary, the JSON. Does not belong here: saving and restoring
(`twin_resources/backup/`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Callable

from rich.console import Console

from twin_resources.backup.backup_record import BackupRecord
from twin_resources.backup.restoring import restore
from twin_resources.backup.saving import back_up
from twin_resources.processes.wording import counted
from twin_resources.settings import Settings


def run_backup(
    settings: Settings, place: str, *, secrets: bool, as_json: bool, console: Console
) -> int:
    """Save the home; returns the exit code.

    Raises:
        TwinError: see `back_up`.
    """
    record = back_up(settings, place, secrets=secrets, report=_reporter(console, as_json))
    _tell(record, place, f"saved as {place}", as_json=as_json, console=console)
    if not as_json and not secrets:
        console.print("without keys: `twin up` makes new ones after a restore (--secrets)")
    return 0


def run_restore(settings: Settings, place: str, *, as_json: bool, console: Console) -> int:
    """Make the home of these settings from a backup; returns the exit code.

    Raises:
        TwinError: see `restore`.
    """
    record = restore(settings, place, report=_reporter(console, as_json))
    said = f"restored into {settings.home}, every value as it was on {record.made_at}"
    _tell(record, place, said, as_json=as_json, console=console)
    return 0


def _reporter(console: Console, as_json: bool) -> Callable[[str], None]:
    def report(line: str) -> None:
        if not as_json:
            console.print(line, markup=False, style="dim")

    return report


def _tell(record: BackupRecord, place: str, said: str, *, as_json: bool, console: Console) -> None:
    if as_json:
        document = {
            "place": place,
            "made_at": record.made_at,
            "secrets": record.has_secrets,
            "bytes": record.bytes,
            "files": len(record.files),
            "tables": [
                {
                    "author": table.author,
                    "asset": table.asset,
                    "rows": table.rows,
                    "data_version": table.data_version,
                }
                for table in record.tables
            ],
        }
        console.print_json(json.dumps(document))
        return
    held = f"{counted(len(record.tables), 'table')}, {counted(len(record.files), 'file')}"
    console.print(f"{said}: {held}, the state store; {record.bytes / 1e6:,.1f} MB", markup=False)
