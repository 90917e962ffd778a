"""Report the evidence about an author to Dagster: numbers, alarms and plots as metadata.

Scope: the metadata and the data version. Out of scope: following a stream
(`retraining/score_watch.py`), drawing (`evidence_plot.py`), and the asset.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from twin_assets.feedback import evidence_plot
from twin_resources.quality.ledger.ledger_tables import open_tables
from twin_resources.quality.retraining import alarm_records, score_watch
from twin_resources.quality.retraining.alarm_records import AlarmRecord
from twin_resources.quality.retraining.retraining_rules import rules_from_settings
from twin_resources.settings import Settings
from twin_resources.statistics.detector import StreamEvidence
from twin_resources.storage.state.state import State


def build_evidence_report(
    state: State, author: str, settings: Settings
) -> tuple[str, dict[str, Any]]:
    """Return the data version and the metadata of an author's current evidence.

    The metadata contains the numbers of each stream, its plot and all alarms.
    """
    open_tables(state)
    rules = rules_from_settings(settings)
    with state.read_transaction() as connection:
        stream_evidence = score_watch.current_evidence(connection).get(author, [])
        stable_version = score_watch.stable_versions(connection).get(author)
        days = {
            evidence.stream: score_watch.ComparedDays.from_ledger(
                connection, stable_version, evidence.stream, rules
            )
            for evidence in stream_evidence
            if stable_version is not None
        }
        threshold = rules.threshold(score_watch.count_armed_streams(connection))
        records = alarm_records.list_alarms(connection, author)
        excluded_counts = alarm_records.count_excluded_scores(connection, author)
    rows = [_to_table_row(record) for record in records]
    metadata: dict[str, Any] = {
        "streams": len(stream_evidence),
        "alarms": dg.MetadataValue.table(rows) if rows else "none yet",
        "scores_not_counted": dict(excluded_counts),
    }
    if not stream_evidence:
        metadata["why"] = "no settled value of the stable version has been observed yet"
    for evidence in stream_evidence:
        name = re.sub(r"[^A-Za-z0-9]+", "_", evidence.stream).strip("_")
        metadata |= {
            f"{name}_values": evidence.value_count,
            f"{name}_e_value": evidence.likelihood_ratio,
            f"{name}_threshold": threshold,
            f"{name}_baseline": dict(evidence.floors) or "none yet",
        }
        if evidence.stream in days:
            png = evidence_plot.draw_evidence(
                days[evidence.stream], until=evidence.last, threshold=threshold
            )
            picture = f"data:image/png;base64,{base64.b64encode(png).decode()}"
            metadata[name] = dg.MetadataValue.md(f"![{evidence.stream}]({picture})")
    return hash_evidence(stream_evidence, records), metadata


def hash_evidence(stream_evidence: Sequence[StreamEvidence], records: Sequence[AlarmRecord]) -> str:
    """Return the data version, which is equal for equal evidence and alarm records."""
    digest = hashlib.sha256()
    for evidence in stream_evidence:
        digest.update(json.dumps(asdict(evidence)).encode())
    for record in records:
        digest.update(f"{record.alarm} {record.message}".encode())
    return digest.hexdigest()


def _to_table_row(record: AlarmRecord) -> dg.TableRecord:
    alarm = record.alarm
    return dg.TableRecord(
        {
            "stream": alarm.stream,
            "version": alarm.version,
            "number": alarm.number,
            "values": alarm.values_since_fall,
            "e_value": round(alarm.likelihood_ratio, 1),
            "threshold": alarm.threshold,
            "decision": record.decision or "open",
            "run_key": record.run_key,
            "message": record.message,
        }
    )
