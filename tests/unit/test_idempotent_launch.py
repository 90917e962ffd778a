"""Test, without Dagster, that one reason starts exactly one run wherever the daemon is killed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.dagster_runs import Run
from twin_resources.idempotent_launch import Step, decide_step


def build_run(status: str, *, end: float | None = 100.0, **tags: str) -> Run:
    run_tags = {name.replace("__", "/"): value for name, value in tags.items()}
    return Run("r", "job", status, 80.0, 90.0, end, run_tags)


@pytest.mark.parametrize(
    ("runs", "facts", "step"),
    [
        ([], {}, "launch"),
        ([], {"was_seen": True}, "gone"),
        ([build_run("QUEUED", end=None)], {}, "wait"),
        ([build_run("STARTED", end=None)], {"was_seen": True}, "wait"),
        ([build_run("SUCCESS")], {}, "passed"),
        ([build_run("CANCELED")], {"max_attempts": 3}, "canceled"),
        ([build_run("CANCELED", twin__ended_by="forget")], {"max_attempts": 3}, "retry"),
        (
            [build_run("CANCELED", twin__ended_by="forget")],
            {"max_attempts": 3, "attempt": 3},
            "canceled",
        ),
        ([build_run("FAILURE")], {}, "failed"),
        ([build_run("FAILURE")], {"max_attempts": 3}, "retry"),
        ([build_run("FAILURE")], {"max_attempts": 3, "attempt": 3}, "failed"),
        ([build_run("FAILURE")], {"max_attempts": 3, "retry_after_s": 60.0}, "wait"),
        ([build_run("FAILURE")], {"max_attempts": 3, "retry_after_s": 20.0}, "retry"),
        # The clocks differ, but no delay means no delay.
        ([build_run("FAILURE", end=900.0)], {"max_attempts": 3}, "retry"),
        ([build_run("FAILURE", dagster__will_retry="true")], {"max_attempts": 3}, "wait"),
        ([build_run("FAILURE", dagster__will_retry="true", end=5.0)], {"max_attempts": 3}, "retry"),
        # Another run of this reason, older or newer, is in progress.
        ([build_run("FAILURE"), build_run("STARTED", end=None)], {"max_attempts": 3}, "wait"),
        (
            [
                build_run("SUCCESS"),
                build_run("FAILURE", dagster__will_retry="true", dagster__auto_retry_run_id="r"),
            ],
            {"max_attempts": 3},
            "passed",
        ),
    ],
)
def test_the_runs_of_a_reason_determine_the_next_step(
    runs: list[Run], facts: Mapping[str, float], step: Step
) -> None:
    assert decide_step(runs, now=130.0, **facts) == step  # type: ignore[arg-type]


@dataclass
class Daemon:
    """State that survives a kill: the stored memory, and Dagster's runs by key."""

    attempt: int = 1
    final_step: Step | None = None
    runs: dict[str, str] = field(default_factory=dict[str, str])

    def tick(self, kill_point: str) -> None:
        """Check one reason; `kill_point` is "before the launch", "before the memory" or ""."""
        key = f"reason:{self.attempt}"
        runs = [build_run(self.runs[key], end=0.0)] if key in self.runs else []
        step = decide_step(runs, now=500.0, attempt=self.attempt, max_attempts=3)
        attempt = self.attempt + (step == "retry")
        if step in ("launch", "retry") and kill_point != "before the launch":
            self.runs.setdefault(f"reason:{attempt}", "STARTED")  # no key is started twice
        if kill_point:
            return
        self.attempt = attempt
        self.final_step = step if step in ("passed", "failed", "canceled") else None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "before the launch", "before the memory"]),
            st.sampled_from(["STARTED", "SUCCESS", "FAILURE", "CANCELED"]),
        ),
        max_size=40,
    )
)
def test_a_daemon_killed_at_any_point_starts_one_run_per_attempt(
    ticks: list[tuple[str, str]],
) -> None:
    daemon = Daemon()
    for kill_point, next_status in ticks:
        running = [key for key, status in daemon.runs.items() if status == "STARTED"]
        before = set(daemon.runs)
        if daemon.final_step is None:
            daemon.tick(kill_point)
        if running:
            assert set(daemon.runs) == before, "a second run was started"
        for key in daemon.runs.keys() - before:
            number = int(key.split(":")[1])
            assert number == len(before) + 1
            assert {daemon.runs[earlier] for earlier in before} <= {"FAILURE"}
        for key in running:
            daemon.runs[key] = next_status
    # Two further checks without a kill reach an end or a running run.
    for _ in range(2):
        if daemon.final_step is None:
            daemon.tick("")
    assert daemon.final_step is not None or "STARTED" in daemon.runs.values()
    assert len(daemon.runs) <= 3
