"""Define the sensor `canary_verdict`, which ends decided trials and records releases in Dagster.

Scope: the code between Dagster and `release_tick.run_release_tick`.
Out of scope: aggregating scores, deciding and moving versions (`twin_resources/quality/release`).
Method: deploy/docs/loop-explained.md.

The gate's version is defined in the asset package, which this package does not import, so
`build_sensor` receives it.
"""

import time

import dagster as dg

from twin_resources.authors import list_readable_authors
from twin_resources.authors.consent import find_consent_date, missing_consent_reason
from twin_resources.dagster_history import newest_metadata
from twin_resources.quality.release.release_tick import ReleaseNotice, run_release_tick
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables


def build_sensor(gate_version: str) -> dg.SensorDefinition:
    """Return the sensor for this gate version."""

    @dg.sensor(
        name="canary_verdict",
        description="Ends decided trials: every minute, it reads the pairs of each version on "
        "trial and promotes, rolls back or parks the version according to the evidence.",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def canary_verdict(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        registry: dg.ResourceParam[Registry],
        tables: dg.ResourceParam[Tables],
    ) -> dg.SensorResult:
        """Promote, roll back or park each version on trial, according to its evidence."""
        # An error in one file affects only that author.
        authors, problems = list_readable_authors(settings)
        tick = run_release_tick(
            registry,
            tables,
            release_modes={author.slug: author.release_mode for author in authors},
            withheld_reasons={
                author.slug: missing_consent_reason(author)
                for author in authors
                if find_consent_date(author) is None
            },
            gate_version=gate_version,
            newest_metadata=lambda asset, author: newest_metadata(context.instance, asset, author),
            now=time.time(),
            last_known_move_number=int(context.cursor or 0),
            margin=settings.margin,
            min_prompts=settings.trial_prompts,
        )
        lines = [f"{author}: {line}" for author, line in tick.messages.items()]
        message = "\n".join([*lines, *problems])
        return dg.SensorResult(
            skip_reason=message or "no version is on trial",
            asset_events=[to_materialization(notice) for notice in tick.notices],
            cursor=str(tick.newest_move_number),
        )

    return canary_verdict


def to_materialization(notice: ReleaseNotice) -> dg.AssetMaterialization:
    """Convert a release notice to a materialization of `released_model`."""
    metadata = {
        name: dg.MetadataValue.md(value) if name in {"moved", "evidence"} else value
        for name, value in notice.metadata.items()
    }
    return dg.AssetMaterialization(
        "released_model", description=notice.description, metadata=metadata, partition=notice.author
    )
