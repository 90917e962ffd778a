"""The asset `quality_evidence`: each stream as its detector sees it, in numbers and as a plot.

Scope: the asset. Out of scope: following and deciding (the sensor
`quality_dropped`), what is shown (`evidence_report.py`). No text of a reader is in it.
"""

import dagster as dg

from twin_assets.partitions import authors
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State


@dg.asset(partitions_def=authors, group_name="feedback", deps=["interactions"], kinds={"sqlite"})
def quality_evidence(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    state: dg.ResourceParam[State],
) -> dg.MaterializeResult:
    """What the detectors of the stable version have seen: baseline, e-value, threshold, alarms."""
    from twin_assets.feedback import evidence_report

    version, metadata = evidence_report.report_of(state, context.partition_key, settings)
    return dg.MaterializeResult(data_version=dg.DataVersion(version), metadata=metadata)
