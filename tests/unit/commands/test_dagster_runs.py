"""Test parsing the rows of Dagster's GraphQL, and reporting a run's events and failures."""

from __future__ import annotations

import io
import re
from typing import Any

from rich.console import Console
from twin_cli.commands.first_answers import format_post_changes, suggest_repair
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.runs import FollowedRun, _RunReporter

from twin_resources.dagster_runs import Event, parse_event, parse_run


def make_row(**changes: Any) -> dict[str, Any]:
    return {
        "runId": "r",
        "jobName": "retrain_twin",
        "status": "STARTED",
        "creationTime": 1.0,
        "startTime": 2.0,
        "endTime": None,
        "tags": [{"key": "dagster/partition", "value": "jose"}],
    } | changes


def test_a_failed_run_names_its_replacement() -> None:
    tags = [
        {"key": "dagster/will_retry", "value": "true"},
        {"key": "dagster/auto_retry_run_id", "value": "r2"},
    ]
    run = parse_run(make_row(status="FAILURE", tags=tags))
    assert run.is_finished
    assert run.will_be_retried
    assert run.retry_run_id == "r2"
    assert not parse_run(make_row()).will_be_retried


def test_the_first_cause_of_a_failure_comes_last() -> None:
    event = parse_event(
        {
            "__typename": "ExecutionStepFailureEvent",
            "message": "Execution of step failed",
            "stepKey": "raw_posts",
            "timestamp": "1500",
            "error": {
                "message": "DagsterExecutionStepExecutionError\n",
                "errorChain": [{"error": {"message": "TwinError: Tried to read.\n"}}],
            },
        }
    )
    assert event.errors == ("DagsterExecutionStepExecutionError", "TwinError: Tried to read.")
    assert event.timestamp == 1.5


def test_a_materialization_returns_its_integers() -> None:
    entries = [
        {"label": "posts_added", "intValue": 2},
        {"label": "layouts"},
        {"label": "larger_than_graphql_counts", "intValue": None},
    ]
    event = parse_event(
        {
            "__typename": "MaterializationEvent",
            "assetKey": {"path": ["raw_posts"]},
            "metadataEntries": entries,
        }
    )
    assert event.asset == "raw_posts"
    assert event.numbers == {"posts_added": 2}


def test_an_import_reports_its_changes_or_nothing() -> None:
    counts = {"posts_added": 1200, "posts_edited": 1, "posts_deleted": 0, "written": 7}
    run = parse_run(make_row(status="SUCCESS"))
    followed = FollowedRun(run, (), (), asset_numbers={"raw_posts": counts})
    assert format_post_changes(followed) == ": posts added 1,200, edited 1, deleted 0"
    assert format_post_changes(FollowedRun(run, (), ())) == ""


def test_progress_is_read_only_from_progress_lines() -> None:
    def parse_progress(message: str) -> dict[str, Any] | None:
        return Event("LogMessageEvent", message, "", 0.0).progress

    assert parse_progress('progress {"step": 3, "steps": 9}') == {"step": 3, "steps": 9}
    assert parse_progress('[train] progress {"step": 3}') == {"step": 3}
    assert parse_progress("progress {not json}") is None
    assert parse_progress("no progress at all") is None


def make_event(kind: str = "", **values: Any) -> Event:
    timestamp = values.pop("timestamp", 0.0)
    return Event(kind, values.pop("message", ""), values.pop("step", ""), timestamp, **values)


def test_results_are_printed_and_only_failed_checks_are_named() -> None:
    file = io.StringIO()
    display = ProgressDisplay(Console(file=file, width=120), verbose=True)
    with display.bar("train") as bar:
        reporter = _RunReporter(bar, display)
        for event in (
            make_event("ExecutionStepStartEvent", step="released_model"),
            make_event("MaterializationEvent", step="released_model", asset="released_model"),
            make_event("AssetCheckEvaluationEvent", check="beats_base_model", passed=True),
            make_event("AssetCheckEvaluationEvent", check="is_served", passed=False),
            make_event("AssetCheckEvaluationEvent", check="says_it", passed=False, is_warning=True),
        ):
            reporter.process_event(event)

    lines = [line.split("  ", 2)[-1].strip() for line in file.getvalue().splitlines()]
    assert [re.sub(r"^\S+  ", "", line) for line in lines] == [
        "released model done in 0:00",
        "check failed: is served",
        "check not met, which stops nothing: says_it",
    ]
    assert reporter.failed_checks == ["is_served"]


def test_a_step_that_is_running_when_following_resumes_keeps_its_start() -> None:
    file = io.StringIO()
    display = ProgressDisplay(Console(file=file, width=120), verbose=True)
    with display.bar("import") as bar:
        first_reporter = _RunReporter(bar, display)
        first_reporter.process_event(
            make_event("ExecutionStepStartEvent", step="sentences", timestamp=100.0)
        )
    with display.bar("import") as bar:
        reporter = _RunReporter(bar, display, step_started_at=first_reporter.step_started_at)
        reporter.process_event(
            make_event("MaterializationEvent", step="sentences", asset="sentences", timestamp=165.0)
        )

    assert "sentences done in 1:05" in file.getvalue()


def test_an_import_with_too_many_bad_posts_names_the_setting() -> None:
    advice = suggest_repair(["no_words_lost"], run_url="http://d/runs/1")
    assert "TWIN_MOST_QUARANTINED" in advice
    assert advice.endswith("http://d/runs/1")
    other_advice = suggest_repair(["every_chunk_has_a_vector"], run_url="http://d/runs/1")
    assert other_advice == "see http://d/runs/1, then run `twin up` again"
