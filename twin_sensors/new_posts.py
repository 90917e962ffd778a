"""Define the sensor `new_posts`, which imports posts that were added, changed or removed.

Scope: the code between Dagster and `sources.import_decisions`, with one check per tick.
Out of scope: listing and decisions (`twin_resources/storage/sources`), reading posts
(`raw_posts`), feeds (`changed_feeds.py`), and whether new posts justify a retraining
(`new_data_trigger.py`).

If a listing fails, the author's known state is kept.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import dagster as dg

from twin_resources.authors import list_author_slugs, read_author
from twin_resources.errors import TwinError
from twin_resources.idempotent_launch import RunLaunch
from twin_resources.models.embedder.embedder import find_prepared_embedder
from twin_resources.settings import Settings
from twin_resources.storage.sources.import_decisions import SourcesState, build_run_key
from twin_resources.storage.sources.listing import is_feed, list_source, short_fingerprint
from twin_resources.storage.state.failure_isolation import isolate_failure
from twin_resources.storage.state.state import State
from twin_sensors.import_runs import CHANGE_TAG, ImportRuns
from twin_sensors.jobs import import_posts
from twin_sensors.launchable_runs import (
    PARTITIONS,
    find_unknown_partitions,
    select_launchable,
    to_run_request,
)

MAX_LISTING_S = 30.0
"""Maximum listing time per tick; the next tick continues. Dagster ends a tick after 60 s."""

MAX_RUN_REQUESTS = 10
"""Maximum number of runs that a tick requests; AWS throttles many tasks that start at once."""

_AUTHORS = dg.DynamicPartitionsDefinition(name=PARTITIONS)


@dataclass(frozen=True)
class PostsCursor:
    """The sensor's cursor: the time of its creation, the next author to list, and known states."""

    epoch: int
    next_author: str
    authors: Mapping[str, SourcesState]

    @classmethod
    def from_json(cls, cursor: str | None, *, now: float) -> "PostsCursor":
        """Parse a stored cursor, or create one at `now` (seconds since the epoch)."""
        if not cursor:
            return cls(int(now), "", {})
        document: dict[str, Any] = json.loads(cursor)
        known_sources = {
            slug: SourcesState(**fields) for slug, fields in document["authors"].items()
        }
        return cls(document["epoch"], document["turn"], known_sources)

    def to_json(self) -> str:
        """Return the cursor as Dagster stores it."""
        known_sources = {slug: asdict(sources) for slug, sources in sorted(self.authors.items())}
        return json.dumps({"epoch": self.epoch, "turn": self.next_author, "authors": known_sources})


@dg.sensor(
    job=import_posts,
    description="Starts `import_posts` once for each change in an author's folders and S3 "
    "prefixes, which are listed every minute without reading a post.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def new_posts(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    state: dg.ResourceParam[State],
) -> dg.SensorResult:
    """Import an author's posts once for each change in the author's folders and S3 prefixes."""
    now = time.time()
    posts_cursor = PostsCursor.from_json(context.cursor, now=now)
    try:
        find_prepared_embedder(settings)  # an import ends with `embeddings`, which needs it
    except TwinError as error:
        message = f"imports wait for the embedder: {error.found}"
        return dg.SensorResult(skip_reason=message, cursor=posts_cursor.to_json())
    runs = ImportRuns(context.instance)
    slugs = list_author_slugs(settings)
    known_sources = {
        slug: sources for slug, sources in posts_cursor.authors.items() if slug in slugs
    }
    launches: list[RunLaunch] = []
    messages: list[str] = []
    next_author = ""
    # The tick begins with the authors that the last tick did not reach.
    for slug in sorted(slugs, key=lambda slug: (slug < posts_cursor.next_author, slug)):
        if time.time() > now + MAX_LISTING_S or len(launches) == MAX_RUN_REQUESTS:
            next_author = slug
            messages.append(f"{slug} and all later authors are checked in the next tick")
            break
        with isolate_failure(slug, messages.append):
            author = read_author(settings, slug)
            listings = [list_source(source) for source in author.sources if not is_feed(source)]
            if not listings:
                continue
            known_state = known_sources.get(slug)
            fingerprint = short_fingerprint(listings)
            decision = runs.decide_import(
                "posts", slug, known_state, fingerprint, epoch=posts_cursor.epoch, now=now,
                is_imported=partial(runs.has_imported, slug, fingerprint),
            )  # fmt: skip
            if decision.should_launch and decision.state is not None:
                key = build_run_key("posts", slug, posts_cursor.epoch, decision.state)
                launches.append(RunLaunch(slug, key, {CHANGE_TAG: key}))
            messages.append(f"{slug}: {decision.message}")
            if decision.state is not None:
                known_sources[slug] = decision.state
    missing_partitions = find_unknown_partitions(context.instance, launches)
    ready_launches, held_messages = select_launchable(
        context.instance, launches, state=state, job=import_posts.name,
        requested_partitions=missing_partitions,
    )  # fmt: skip
    message = "\n".join([*messages, *held_messages]) or "no author with a folder or an S3 prefix"
    context.log.info(message)
    return dg.SensorResult(
        run_requests=list(map(to_run_request, ready_launches)),
        skip_reason=None if ready_launches else message,
        dynamic_partitions_requests=[_AUTHORS.build_add_request(missing_partitions)]
        if missing_partitions
        else [],
        cursor=PostsCursor(posts_cursor.epoch, next_author, known_sources).to_json(),
    )
