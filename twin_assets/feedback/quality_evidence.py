"""The asset `quality_evidence`: each stream as its detector sees it, in numbers and as a plot.

Belongs here: the asset. Does not belong here: following and deciding (the sensor
`quality_dropped`), what is shown (`evidence_report.py`). No text of a reader is in it.
"""

import dagster as dg

from twin_assets.partitions import authors
from twin_resources.dagster_resources import SettingsResource, StateResource


@dg.asset(partitions_def=authors, group_name="feedback", deps=["interactions"], kinds={"sqlite"})
def quality_evidence(
    context: dg.AssetExecutionContext, settings: SettingsResource, state: StateResource
) -> dg.MaterializeResult:
    """What the detectors of the stable version have seen: baseline, e-value, threshold, alarms."""
    from twin_assets.feedback import evidence_report
    from twin_resources.quality.ledger.ledger_tables import open_tables
    from twin_resources.quality.retraining import alarm_records
    from twin_resources.quality.retraining.evidence_history import histories_of
    from twin_resources.quality.retraining.rules import rules_of

    author, home, store = context.partition_key, settings.settings(), state.state()
    open_tables(store)
    with store.reading() as connection:
        histories = histories_of(connection, author, rules_of(home))
        records = alarm_records.of_author(connection, author)
        not_counted = alarm_records.not_counted(connection, author)
    store.close()
    folder = home.home / "evidence" / author
    return dg.MaterializeResult(
        data_version=dg.DataVersion(evidence_report.version_of(histories, records)),
        metadata=evidence_report.metadata_of(histories, records, not_counted, folder=folder),
    )
