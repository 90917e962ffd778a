"""Define the job `forget`, and the sensor that restarts requests whose run died.

Scope: the code between Dagster and `twin_resources/erasure`.
Out of scope: the erasure itself, and the command `twin forget`, which records a request and
launches this job.

The run's configuration contains only the request's number, because a slug, an address or a
reader's key would remain in the run's record. For the same reason, the job has no partitions.
"""

import time
from collections.abc import Sequence

import dagster as dg

from twin_resources.dagster_runs import Run
from twin_resources.erasure import journal
from twin_resources.idempotent_launch import RunLaunch, decide_step
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_sensors.dagster_run_records import DagsterRunRecords
from twin_sensors.launchable_runs import select_launchable, to_run_request

REQUEST_TAG = "twin/forget_request"
MAX_RUNS = 5  # unsuccessful runs per request; then a person must find the cause


class ErasureRunConfig(dg.Config):
    """The number of the request in the journal."""

    request: int


@dg.op
def forget_subject(
    context: dg.OpExecutionContext, config: ErasureRunConfig, settings: dg.ResourceParam[Settings]
) -> None:
    """Erase the subject of a request everywhere, verify the erasure and write the certificate."""
    from twin_resources.erasure.certificate import read_certificate
    from twin_resources.erasure.dagster_records import DagsterRecords
    from twin_resources.erasure.data_store import Installation
    from twin_resources.erasure.erasing import run_erasure

    installation = Installation.for_settings(settings)
    records = DagsterRecords(installation, context.instance, own_run_id=context.run_id)
    certificate_path = run_erasure(installation, config.request, dagster=records)
    certificate = read_certificate(certificate_path)
    count_by_store: dict[str, int] = certificate["places"]
    erased_counts = ", ".join(f"{name} {count}" for name, count in count_by_store.items())
    context.log.info(f"request {config.request} ({certificate['kind']}) is done: {erased_counts}")
    context.add_output_metadata(
        {
            "certificate": dg.MetadataValue.path(str(certificate_path)),
            "tainted": len(certificate["tainted"]),
            "elsewhere": len(certificate["elsewhere"]),
            **{f"erased in {name}": count for name, count in count_by_store.items()},
        }
    )


@dg.job(
    description="Forget a post, an author or a reader, as requested with `twin forget`.",
    executor_def=dg.in_process_executor,
)
def forget() -> None:
    """Run the only step, `forget_subject`. If it is repeated, it resumes the erasure."""
    forget_subject()


@dg.sensor(
    job=forget,
    description="Starts `forget` for a `twin forget` request that has no run in progress, because "
    f"its run died or none was launched. Gives up after {MAX_RUNS} unsuccessful runs in a row.",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,  # an obligation, independent of settings
)
def forgetting_unfinished(
    context: dg.SensorEvaluationContext, state: dg.ResourceParam[State]
) -> dg.SensorResult | dg.SkipReason:
    """Start a run for each request without an active run."""
    records = DagsterRunRecords(context.instance, job=forget.name, key_tag=REQUEST_TAG)
    launches: list[RunLaunch] = []
    abandoned_requests: list[int] = []
    for request in journal.list_unfinished_requests(state):
        runs = records.runs_with_key(str(request.number))
        # A failed run does not end the obligation, so the sensor waits only for active runs.
        if decide_step(runs, now=time.time()) == "wait":
            continue
        # Some clouds limit deletions per day; a run that this limit postpones has not failed.
        last_deletion_at = max(
            journal.read_requested_deletions(state, request.number).values(), default=0.0
        )
        if sum(run.created > last_deletion_at for run in runs) >= MAX_RUNS:
            abandoned_requests.append(request.number)
            continue
        launches.append(build_launch(request.number, attempt=_next_attempt(runs)))
    ready_launches, held_messages = select_launchable(
        context.instance, launches, state=state, job=forget.name
    )
    if ready_launches:
        return dg.SensorResult(run_requests=list(map(to_run_request, ready_launches)))
    if held_messages:
        return dg.SkipReason("\n".join(held_messages))
    if abandoned_requests:
        numbers = ", ".join(map(str, abandoned_requests))
        return dg.SkipReason(f"requests {numbers} failed {MAX_RUNS} times; see their runs")
    return dg.SkipReason("every request is complete or in progress")


def _next_attempt(runs: Sequence[Run]) -> int:
    """Return an unused attempt number, even if a person has deleted some of the runs.

    Runs that the command launched have no attempt number.
    """
    used_attempts = (run.tags.get("dagster/run_key", "").rpartition(":")[2] for run in runs)
    return max([len(runs), *(int(attempt) + 1 for attempt in used_attempts if attempt)])


def build_launch(number: int, *, attempt: int) -> RunLaunch:
    """Return the launch for one attempt at a request."""
    return RunLaunch(
        "",  # the job has no partitions
        f"forget:{number}:{attempt}",
        {REQUEST_TAG: str(number)},
        {"ops": {"forget_subject": {"config": {"request": number}}}},
    )
