"""Define the asset `quality_evidence`: numbers and a plot for each stream of scores.

Scope: the asset. Out of scope: following and deciding (the sensor `quality_dropped`) and the report
(`evidence_report.py`). The asset contains no reader text.
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
    """State of the stable version's detectors, with baselines, e-values, thresholds and alarms."""
    from twin_assets.feedback import evidence_report

    version, metadata = evidence_report.build_evidence_report(
        state, context.partition_key, settings
    )
    return dg.MaterializeResult(data_version=dg.DataVersion(version), metadata=metadata)
