"""The asset `quality_evidence`: each stream as its detector sees it, in numbers and as a plot.

Belongs here: the asset. Does not belong here: following and deciding (the sensor
`quality_dropped`), folding the past again (`loop/evidence_history.py`), drawing
(`evidence_plot.py`). No text of a reader is in it.
"""

import hashlib
import re
from typing import Any

import dagster as dg

from twin_assets.feedback import evidence_plot
from twin_assets.partitions import authors
from twin_resources.dagster_resources import SettingsResource, StateResource


@dg.asset(
    partitions_def=authors,
    group_name="feedback",
    deps=["interactions"],
    kinds={"sqlite"},
)
def quality_evidence(
    context: dg.AssetExecutionContext, settings: SettingsResource, state: StateResource
) -> dg.MaterializeResult:
    """What the detectors of the stable version have seen: baseline, e-value, threshold, alarms."""
    from twin_resources.ledger.schema import open_tables
    from twin_resources.loop import alarm_records
    from twin_resources.loop.evidence_history import histories_of
    from twin_resources.loop.rules import rules_of

    author, home = context.partition_key, settings.settings()
    store = state.state()
    try:
        open_tables(store)
        with store.reading() as connection:
            histories = histories_of(connection, author, rules_of(home))
            records = alarm_records.of_author(connection, author)
            held_back = alarm_records.not_counted(connection, author)
    finally:
        store.close()
    folder = home.home / "evidence" / author
    folder.mkdir(parents=True, exist_ok=True)
    metadata: dict[str, Any] = {
        "streams": len(histories),
        "alarms": dg.MetadataValue.table([_row(record) for record in records])
        if records
        else "none yet",
        "scores_not_counted": held_back,
    }
    for history in histories:
        name = re.sub(r"[^A-Za-z0-9]+", "_", history.watch.stream).strip("_")
        png = evidence_plot.draw(history)
        path = folder / f"{history.watch.version}_{name}.png"
        path.write_bytes(png)
        metadata |= {
            f"{name}": dg.MetadataValue.md(evidence_plot.inline(png, title=history.watch.stream)),
            f"{name}_file": dg.MetadataValue.path(str(path)),
            f"{name}_values": history.watch.seen,
            f"{name}_e_value": history.watch.detector.e_value,
            f"{name}_threshold": history.threshold,
            f"{name}_baseline": dict(history.watch.baseline.bounds)
            if history.watch.baseline
            else "none yet: arming",
        }
    if not histories:
        metadata["why"] = "no settled value of the stable version was followed yet"
    digest = hashlib.sha256()
    for history in histories:
        digest.update(history.watch.to_json().encode())
    for record in records:
        digest.update(f"{record.run_key} {record.message}".encode())
    return dg.MaterializeResult(data_version=dg.DataVersion(digest.hexdigest()), metadata=metadata)


def _row(record: Any) -> dg.TableRecord:
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
