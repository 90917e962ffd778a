"""Exactly one run for one reason, decided without Dagster, and over every way to be killed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.dagster_runs import Run
from twin_resources.idempotent_launch import Step, next_step


def run(status: str, *, ended: float | None = 100.0, **tags: str) -> Run:
    named = {name.replace("__", "/"): value for name, value in tags.items()}
    return Run("r", "job", status, 80.0, 90.0, ended, named)


@pytest.mark.parametrize(
    ("runs", "facts", "step"),
    [
        ([], {}, "offer"),
        ([], {"was_seen": True}, "gone"),
        ([run("QUEUED", ended=None)], {}, "wait"),
        ([run("STARTED", ended=None)], {"was_seen": True}, "wait"),
        ([run("SUCCESS")], {}, "passed"),
        ([run("CANCELED")], {"max_attempts": 3}, "canceled"),
        ([run("CANCELED", twin__ended_by="forget")], {"max_attempts": 3}, "retry"),
        ([run("CANCELED", twin__ended_by="forget")], {"max_attempts": 3, "attempt": 3}, "canceled"),
        ([run("FAILURE")], {}, "failed"),
        ([run("FAILURE")], {"max_attempts": 3}, "retry"),
        ([run("FAILURE")], {"max_attempts": 3, "attempt": 3}, "failed"),
        ([run("FAILURE")], {"max_attempts": 3, "retry_after_s": 60.0}, "wait"),
        ([run("FAILURE")], {"max_attempts": 3, "retry_after_s": 20.0}, "retry"),
        # The clocks do not agree: at once is at once.
        ([run("FAILURE", ended=900.0)], {"max_attempts": 3}, "retry"),
        ([run("FAILURE", dagster__will_retry="true")], {"max_attempts": 3}, "wait"),
        ([run("FAILURE", dagster__will_retry="true", ended=5.0)], {"max_attempts": 3}, "retry"),
        # A sibling is at work, older or newer.
        ([run("FAILURE"), run("STARTED", ended=None)], {"max_attempts": 3}, "wait"),
        (
            [
                run("SUCCESS"),
                run("FAILURE", dagster__will_retry="true", dagster__auto_retry_run_id="r"),
            ],
            {"max_attempts": 3},
            "passed",
        ),
    ],
)
def test_one_look(runs: list[Run], facts: Mapping[str, float], step: Step) -> None:
    assert next_step(runs, now=130.0, **facts) == step  # type: ignore[arg-type]


@dataclass
class Daemon:
    """What survives a kill: what was remembered, and Dagster's runs by key."""

    attempt: int = 1
    ended: Step | None = None
    runs: dict[str, str] = field(default_factory=dict[str, str])

    def tick(self, killed: str) -> None:
        """One look at one reason, killed before the launch or before the memory is written."""
        key = f"reason:{self.attempt}"
        mine = [run(self.runs[key], ended=0.0)] if key in self.runs else []
        step = next_step(mine, now=500.0, attempt=self.attempt, max_attempts=3)
        attempt = self.attempt + (step == "retry")
        if step in ("offer", "retry") and killed != "before the launch":
            self.runs.setdefault(f"reason:{attempt}", "STARTED")  # no key is started twice
        if killed:
            return
        self.attempt = attempt
        self.ended = step if step in ("passed", "failed", "canceled") else None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "before the launch", "before the memory"]),
            st.sampled_from(["STARTED", "SUCCESS", "FAILURE", "CANCELED"]),
        ),
        max_size=40,
    )
)
def test_a_daemon_killed_at_any_look_starts_one_run_an_attempt(
    looks: list[tuple[str, str]],
) -> None:
    daemon = Daemon()
    for killed, becomes in looks:
        at_work = [key for key, status in daemon.runs.items() if status == "STARTED"]
        before = set(daemon.runs)
        if daemon.ended is None:
            daemon.tick(killed)
        if at_work:
            assert set(daemon.runs) == before, "started beside one that is at work"
        for key in daemon.runs.keys() - before:
            number = int(key.split(":")[1])
            assert number == len(before) + 1
            assert {daemon.runs[one] for one in before} <= {"FAILURE"}
        for key in at_work:
            daemon.runs[key] = becomes
    # Whatever happened, two looks that nobody kills come to an end or to a run at work.
    for _ in range(2):
        if daemon.ended is None:
            daemon.tick("")
    assert daemon.ended is not None or "STARTED" in daemon.runs.values()
    assert len(daemon.runs) <= 3
