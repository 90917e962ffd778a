"""Rows of Dagster's GraphQL as values."""

from __future__ import annotations

from typing import Any

from twin_resources.command.first_answers import changed_posts
from twin_resources.command.runs import FollowedRun, progress_line
from twin_resources.dagster_runs import Event, event_of, run_of


def row(**changes: Any) -> dict[str, Any]:
    return {
        "runId": "r",
        "jobName": "retrain_twin",
        "status": "STARTED",
        "creationTime": 1.0,
        "startTime": 2.0,
        "endTime": None,
        "tags": [{"key": "dagster/partition", "value": "jose"}],
    } | changes


def test_a_failed_run_names_the_one_that_takes_its_place() -> None:
    tags = [
        {"key": "dagster/will_retry", "value": "true"},
        {"key": "dagster/auto_retry_run_id", "value": "r2"},
    ]
    run = run_of(row(status="FAILURE", tags=tags))
    assert run.is_finished
    assert run.will_be_retried
    assert run.retry_run_id == "r2"
    assert not run_of(row()).will_be_retried


def test_the_first_cause_of_a_failure_comes_last() -> None:
    event = event_of(
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


def test_a_materialization_gives_its_whole_numbers() -> None:
    entries = [
        {"label": "posts_added", "intValue": 2},
        {"label": "layouts"},
        {"label": "larger_than_graphql_counts", "intValue": None},
    ]
    event = event_of(
        {
            "__typename": "MaterializationEvent",
            "assetKey": {"path": ["raw_posts"]},
            "metadataEntries": entries,
        }
    )
    assert event.asset == "raw_posts"
    assert event.numbers == {"posts_added": 2}


def test_an_import_says_what_changed_or_nothing() -> None:
    counts = {"posts_added": 1200, "posts_edited": 1, "posts_deleted": 0, "written": 7}
    done = run_of(row(status="SUCCESS"))
    followed = FollowedRun(done, (), (), numbers={"raw_posts": counts})
    assert changed_posts(followed) == ": posts added 1,200, edited 1, deleted 0"
    assert changed_posts(FollowedRun(done, (), ())) == ""


def test_progress_is_read_from_lines_that_report_it_and_no_others() -> None:
    def progress(message: str) -> dict[str, Any] | None:
        return Event("LogMessageEvent", message, "", 0.0).progress

    assert progress('progress {"step": 3, "steps": 9}') == {"step": 3, "steps": 9}
    assert progress('[train] progress {"step": 3}') == {"step": 3}
    assert progress("progress {not json}") is None
    assert progress("no progress at all") is None


def test_a_report_reads_as_a_line() -> None:
    report = {"step": 3, "steps": 19, "loss": 2.345, "tokens_per_s": 703.4, "eta_s": 421}
    assert progress_line(report) == "step 3/19  loss 2.35  703 tokens/s  7:01 left"
    assert progress_line({"message": "embedding"}) == "embedding"
