"""What `quality_evidence` says of an author: numbers, alarms and pictures as Dagster's metadata.

Scope: metadata and data version. Out of scope: folding
(`retraining/evidence_history.py`), drawing (`evidence_plot.py`), the asset.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from twin_assets.feedback import evidence_plot
from twin_resources.quality.ledger.ledger_tables import open_tables
from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining.alarm_records import AlarmRecord
from twin_resources.quality.retraining.evidence_history import StreamHistory, histories_of
from twin_resources.quality.retraining.retraining_rules import rules_of
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State


def report_of(state: State, author: str, settings: Settings) -> tuple[str, dict[str, Any]]:
    """Data version and metadata of an author's evidence as it stands."""
    open_tables(state)
    rules = rules_of(settings)
    with state.reading() as connection:
        histories = histories_of(connection, author, rules)
        records = alarm_records.of_author(connection, author)
        not_counted = alarm_records.not_counted(connection, author)
    folder = settings.home / "evidence" / author
    metadata = metadata_of(histories, records, not_counted, folder=folder)
    return version_of(histories, records), metadata


def metadata_of(
    histories: Sequence[StreamHistory],
    records: Sequence[AlarmRecord],
    not_counted: Mapping[str, int],
    *,
    folder: Path,
) -> dict[str, Any]:
    """Numbers of each stream, its picture (also as a PNG under `folder`), and all alarms."""
    rows = [_row(record) for record in records]
    metadata: dict[str, Any] = {
        "streams": len(histories),
        "alarms": dg.MetadataValue.table(rows) if rows else "none yet",
        "scores_not_counted": dict(not_counted),
    }
    if not histories:
        metadata["why"] = "no settled value of the stable version was followed yet"
    folder.mkdir(parents=True, exist_ok=True)
    for history in histories:
        watch = history.watch
        name = re.sub(r"[^A-Za-z0-9]+", "_", watch.stream).strip("_")
        png = evidence_plot.draw(history)
        path = folder / f"{watch.version}_{name}.png"
        path.write_bytes(png)
        metadata |= {
            name: dg.MetadataValue.md(evidence_plot.inline(png, title=watch.stream)),
            f"{name}_file": dg.MetadataValue.path(str(path)),
            f"{name}_values": watch.seen,
            f"{name}_e_value": watch.e_value,
            f"{name}_threshold": history.threshold,
            f"{name}_baseline": dict(watch.held_to) or "none: arming",
        }
    return metadata


def version_of(histories: Sequence[StreamHistory], records: Sequence[AlarmRecord]) -> str:
    """Data version: equal for equal watches and decisions."""
    digest = hashlib.sha256()
    for history in histories:
        digest.update(history.watch.to_json().encode())
    for record in records:
        digest.update(f"{record.alarm} {record.message}".encode())
    return digest.hexdigest()


def _row(record: AlarmRecord) -> dg.TableRecord:
    alarm = record.alarm
    return dg.TableRecord(
        {
            "stream": alarm.stream,
            "version": alarm.version,
            "number": alarm.number,
            "values": alarm.bets,
            "e_value": round(alarm.e_value, 1),
            "threshold": alarm.threshold,
            "decision": record.decision or "open",
            "run_key": record.run_key,
            "message": record.message,
        }
    )
