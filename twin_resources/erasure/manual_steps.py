"""List the data that a person must erase because this code cannot, with a deadline.

Scope: deriving the locations of this data from the settings, and the deadline.
Out of scope: stores that can be erased (`data_stores.py`).

The deadline is one month from the request (Regulation (EU) 2016/679, article 12(3),
https://eur-lex.europa.eu/eli/reg/2016/679/oj). This code cannot inspect a backup, for example.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from twin_resources.authors import list_readable_authors
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.observability.langfuse.client import EMBEDDED_STORE_NAME
from twin_resources.quality.ledger import known_stores, ledger_tables

DEADLINE = timedelta(days=30)
# Below `LANGFUSE_S3_EVENT_UPLOAD_PREFIX`, which is `events/` in Langfuse's compose file.
RAW_UPLOADS = "events/otel/"


@dataclass(frozen=True)
class ManualStep:
    """One step that a person has to take.

    Attributes:
        what: the location.
        how: the instruction.
        deadline: ISO 8601 date.
    """

    what: str
    how: str
    deadline: str


def list_manual_steps(
    installation: Installation,
    target: ErasureTarget,
    *,
    asked_at: float,
    remaining_locations: Iterable[str] = (),
    accepted_at: Iterable[float] = (),
) -> list[ManualStep]:
    """Return the manual steps for an erased subject.

    Args:
        asked_at: time of the request, in seconds since the epoch.
        remaining_locations: locations that a trace store with background deletion still returns.
        accepted_at: times at which the trace store accepted each deletion, in seconds since the
            epoch.
    """
    deadline = (datetime.fromtimestamp(asked_at, UTC) + DEADLINE).date().isoformat()
    steps = _iter_steps(installation, target, len(list(remaining_locations)), sorted(accepted_at))
    return [ManualStep(location, instruction, deadline) for location, instruction in steps]


def _iter_steps(
    installation: Installation,
    target: ErasureTarget,
    remaining_count: int,
    accepted_at: Sequence[float],
) -> Iterator[tuple[str, str]]:
    """Yield the location and the instruction of each step."""
    settings = installation.settings
    yield (
        f"backups and snapshots of {settings.home.name}/ and of its disk",
        "delete those made before the erasure, or let them expire by the deadline",
    )
    if settings.has_real_langfuse:
        yield _make_langfuse_step(settings.langfuse_host, remaining_count, accepted_at)
        yield _make_raw_uploads_step(settings.langfuse_host)
    yield from _list_earlier_stores(installation)
    if "://" in settings.tables_base:
        yield (
            f"replicas and backups of {settings.tables_base}",
            "delete old versions in replicated buckets; those in this bucket are deleted",
        )
    if not settings.state_address.startswith("sqlite"):
        yield (
            "the write-ahead log and base backups of PostgreSQL",
            "let the archive expire, or make a new base backup and delete the older ones",
        )
        yield (
            "the outboxes of other hosts (`host/` in the home)",
            "each may send its data later, so run `twin forget` again once `twin status` on each "
            "host shows it empty",
        )
    answer_counts = Counter(entry.rpartition(" ")[0] for entry in target.shown_to)
    models = {settings.paid_model, settings.teacher_model, settings.judge_model} - {""}
    for model in sorted(models | set(answer_counts)):
        count_note = (
            f" ({answer_counts[model]} of these traces were its answers)"
            if answer_counts[model]
            else ""
        )
        yield (
            f"the provider of {model}{count_note}",
            "check how long it keeps requests, and ask it to delete those that it keeps beyond the "
            "deadline. Each trace records what was sent to the provider (twin.provider_saw)",
        )
    if target.subject.kind == "post" and any(
        author.sources
        for author in list_readable_authors(settings)[0]
        if author.slug == target.author
    ):
        yield (
            "the author's own copy in the sources of the posts",
            "delete it there too if needed; it is not imported again",
        )
    if target.subject.kind != "reader":
        for folder in sorted(target.skills):
            yield (
                f"copies of the skill {folder}",
                "replace them; the folder itself was made anew or removed",
            )
        yield (
            "adapters that were copied from here (exports, on a model hub or another server)",
            f"delete them there: {', '.join(sorted(target.checkpoints)) or 'all that were copied'}",
        )


def _make_langfuse_step(
    host: str, remaining_count: int, accepted_at: Sequence[float]
) -> tuple[str, str]:
    return (
        f"Langfuse at {host}",
        "its deletions were requested over the API and run in the background"
        + (
            f": {len(accepted_at):,} accepted {_format_date_range(accepted_at)}"
            if accepted_at
            else ""
        )
        + (f" ({remaining_count} traces and scores were still returned)" if remaining_count else "")
        + ". Langfuse also ingests the data of the last minutes in the background. Search it again "
        "after a day and delete the remaining data; until then, the ledger may read them back. Its "
        "exports and backups follow its own retention",
    )


def _list_earlier_stores(installation: Installation) -> Iterator[tuple[str, str]]:
    """Yield the Langfuse projects that this home used before, which no command here reaches."""
    ledger_tables.open_tables(installation.state)
    with installation.state.read_transaction() as connection:
        *earlier_stores, _ = known_stores.read_known_stores(connection) or [None]
    for store in filter(None, earlier_stores):
        if not store.name.startswith(EMBEDDED_STORE_NAME):  # its file is in the home
            yield (
                f"Langfuse at {store.name}, which this home used before",
                "delete the traces there too, or set its LANGFUSE_ variables and run `twin forget` "
                f"again; its raw uploads are below {RAW_UPLOADS}",
            )


def _make_raw_uploads_step(host: str) -> tuple[str, str]:
    """Name the raw uploads, which Langfuse keeps when it deletes a trace (seen at 4.16)."""
    return (
        f"the event bucket of Langfuse at {host}, prefix {RAW_UPLOADS}",
        "Langfuse keeps each upload there as it came, with the reader's words, after it has "
        "deleted the trace. Delete the objects of the traces' days (their keys have the date), or "
        "give the prefix a lifecycle rule that expires objects before the deadline",
    )


def _format_date_range(times: Sequence[float]) -> str:
    first_day, last_day = (
        datetime.fromtimestamp(time, UTC).date() for time in (times[0], times[-1])
    )
    return f"from {first_day} to {last_day}"
