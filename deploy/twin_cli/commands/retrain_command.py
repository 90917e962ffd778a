"""Run `twin retrain`: request a retraining manually, with a reason that is stored.

Scope: obstacles to retraining, the request, and waiting for its run.
Out of scope: the sensor that starts the run (`retraining/manual_triggers.py`), following the run
(`training.py`), and deciding whether a retraining is useful.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from twin_cli.commands.author_progress import read_progress, write_progress
from twin_cli.commands.console import format_command
from twin_cli.commands.outcome import (
    RELEASE_ASSET,
    RETRAIN,
    ensure_sensor_starts_retrainings,
)
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.runs import find_run_in_flight, follow_run, has_materialized
from twin_cli.commands.services import require_stack
from twin_cli.commands.subject import choose_author
from twin_cli.commands.versions import current_actor
from twin_resources.authors import Author
from twin_resources.authors.consent import (
    consent_instructions,
    find_consent_date,
    missing_consent_reason,
)
from twin_resources.dagster_runs import Run
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.programs import wait_until
from twin_resources.processes.stack import Stack, find_stack
from twin_resources.quality.retraining import retrainings
from twin_resources.quality.retraining.manual_triggers import request_retraining
from twin_resources.quality.retraining.retrainings import Retraining, RetrainingRequest
from twin_resources.quality.retraining.run_records import KEY_TAG
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State


def run_retrain(
    settings: Settings, *, author: str, reason: str, wait: bool, display: ProgressDisplay
) -> int:
    """Request a retraining and wait until its run exists; return the exit code.

    While the report on a released version still runs, the request waits for its end: only with
    `wait` does this call wait too.

    Args:
        reason: the reason, stored with the request and as a tag of the run (`twin/reason`), and
            reported on failure.
        wait: whether to follow the run until the gate's verdict (0 tuned, 3 refused, 4 failed).

    Raises:
        TwinError: no stack is running, the author's consent is missing, a retraining is already in
            flight, or none was started in time.
    """
    reason = reason.strip()
    if not reason:
        raise TwinError("retrain", found="no reason", next_step='pass a reason: --reason "…"')
    # Another host of a deployment may run Dagster, but a run is followed on its own host.
    needs_stack = wait or not settings.has_shared_state
    stack = require_stack(settings) if needs_stack else find_stack(settings)
    chosen_author = choose_author(settings, author)
    if find_consent_date(chosen_author) is None:
        raise TwinError(
            f"retrain {chosen_author.name}",
            found=f"nothing is trained without consent: {missing_consent_reason(chosen_author)}",
            next_step=consent_instructions(chosen_author),
        )
    dagster = None if stack is None else DagsterHTTP.for_home(stack.settings)
    with closing(open_home_state(settings)) as state:
        report_run = ensure_no_training_in_flight(chosen_author, dagster=dagster, state=state)
        request_number = request_retraining(
            state, chosen_author.slug, asked_by=current_actor(), reason=reason, now=time.time()
        )
        display.log(f"request {request_number}: retrain {chosen_author.name}; reason: {reason}")
        if stack is None or dagster is None:
            display.log("the host that runs Dagster starts it within a minute")
            return 0
        ensure_sensor_starts_retrainings(dagster, chosen_author.slug)
        if report_run is not None:
            display.log(
                f"it starts when the report on the last version has ended (run "
                f"{report_run.run_id[:8]}; `twin status` says how long that takes)"
            )
            if not wait:
                display.log(_format_wait_line(settings))
                return 0
            follow_run(dagster, report_run.run_id, display=display, title="report", stack=stack)
        run = _wait_for_run(stack, chosen_author.slug, request_number, dagster=dagster, state=state)
    progress = read_progress(stack.settings, chosen_author.slug)
    progress = replace(progress, training="launched", run_id=run.run_id)
    write_progress(stack.settings, chosen_author.slug, progress)
    display.log(f"training: {dagster.url}/runs/{run.run_id}")
    if not wait:
        display.log(_format_wait_line(settings))
        return 0
    from twin_cli.commands.training import train

    return int(train(stack, chosen_author.slug, display=display).code)


def _format_wait_line(settings: Settings) -> str:
    return f"to wait for it: {format_command('status --wait', home=settings.home)}"


def ensure_no_training_in_flight(
    author: Author, *, dagster: DagsterHTTP | None, state: State
) -> Run | None:
    """Check that a retraining of this author may be requested now.

    Args:
        dagster: None on a host without Dagster; the state store alone then lists the retrainings.

    Returns:
        The run that must end before the retraining starts: its version is released, and the rest of
        its report is being measured. None if the retraining can begin immediately.

    Raises:
        TwinError: a retraining is in training, decided or requested; the error states the reason
            and the next step.
    """
    active_run = find_run_in_flight(dagster, RETRAIN, author.slug) if dagster else None
    with state.read_transaction() as connection:
        unfinished_retrainings = [
            retraining
            for retraining in retrainings.unfinished_retrainings(connection)
            if retraining.author == author.slug
        ]
        requests = retrainings.open_requests(connection).get(author.slug, [])
    report_run = find_report_run(dagster, author.slug) if dagster else None
    if report_run is not None:
        active_run, report_key = None, report_run.tags.get(KEY_TAG)
        unfinished_retrainings = [
            retraining for retraining in unfinished_retrainings if retraining.run_key != report_key
        ]
    obstacle = find_obstacle(active_run, unfinished_retrainings, requests)
    if obstacle:
        raise TwinError(
            f"retrain {author.name}",
            found=obstacle,
            next_step="wait for it with `twin status --wait`, or terminate its run in the Dagster "
            "UI" + (f" ({dagster.url}/runs)" if dagster else ""),
        )
    return report_run


def find_report_run(dagster: DagsterHTTP, author: str) -> Run | None:
    """Return the author's run that has released its version and measures the rest of its report."""
    active_run = find_run_in_flight(dagster, RETRAIN, author)
    if active_run is None or not has_materialized(dagster, active_run.run_id, RELEASE_ASSET):
        return None
    return active_run


def find_obstacle(
    active_run: Run | None,
    unfinished_retrainings: Sequence[Retraining],
    requests: Sequence[RetrainingRequest],
) -> str:
    """Return why no retraining of an author can begin now, or an empty string if one can.

    Args:
        active_run: the author's queued or active run, or None.
        unfinished_retrainings: retrainings without an outcome; their run may not exist yet.
        requests: requests that no retraining has fulfilled yet.
    """
    if active_run is not None:
        reason = active_run.tags.get("twin/reason") or active_run.tags.get("twin/cause", "")
        status = active_run.status.lower()
        return f"run {active_run.run_id[:8]} is {status}" + _format_reason(reason)
    if unfinished_retrainings:
        return f"one is pending ({unfinished_retrainings[0].cause}) and starts within a minute"
    if requests:
        return f"request {requests[0].number} is waiting to start" + _format_reason(
            requests[0].reason
        )
    return ""


def _format_reason(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _wait_for_run(
    stack: Stack, author: str, request_number: int, *, dagster: DagsterHTTP, state: State
) -> Run:
    """Return the run of a request once the daemon has created it.

    Raises:
        TwinError: the daemon has failed or is making no progress. The request remains stored.
    """

    def find_run() -> Run | None:
        with state.read_transaction() as connection:
            open_requests = retrainings.open_requests(connection).get(author, [])
            keys = {row.run_key for row in retrainings.unfinished_retrainings(connection)}
        if any(request.number == request_number for request in open_requests):
            return None
        runs = dagster.list_runs(job=RETRAIN, author=author, limit=5)
        return next((run for run in runs if run.tags.get(KEY_TAG) in keys), None)

    return wait_until(stack, find_run, program="dagster-daemon")  # its sensor starts the run
