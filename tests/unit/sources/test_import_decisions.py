"""Test whether a check of the sources starts an import, without Dagster."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.dagster_runs import Run
from twin_resources.storage.sources.import_decisions import (
    MAX_ATTEMPTS,
    ImportDecision,
    SourcesState,
    build_run_key,
    decide_import,
)

IMPORTED = SourcesState(3, "a", 1, True, 100.0)
PENDING = SourcesState(3, "a", 1, False, 100.0)


def decide_after_check(
    previous_state: SourcesState | None, fingerprint: str, last_run: str = "", **options: object
) -> ImportDecision:
    """Decide after a check; `last_run` is the Dagster status of the last run, if any."""
    runs = [Run("r", "import_posts", last_run, 150.0, 151.0, 160.0)] if last_run else []
    fields: dict[str, object] = {"is_imported": False, "is_import_running": False, "runs": runs}
    return decide_import(previous_state, fingerprint, now=200.0, **(fields | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("previous_state", "fingerprint", "options", "expected", "should_launch"),
    [
        (None, "a", {}, SourcesState(1, "a", 1, False, 200.0), True),
        (None, "a", {"is_imported": True}, SourcesState(0, "a", 0, True, 200.0), False),
        (IMPORTED, "b", {"is_imported": True}, SourcesState(3, "b", 0, True, 200.0), False),
        (IMPORTED, "a", {"is_imported": True}, IMPORTED, False),
        (PENDING, "b", {"is_imported": True}, SourcesState(3, "b", 0, True, 200.0), False),
        (None, "a", {"is_import_running": True}, None, False),
        (IMPORTED, "a", {}, IMPORTED, False),
        (IMPORTED, "b", {}, SourcesState(4, "b", 1, False, 200.0), True),
        (IMPORTED, "b", {"is_import_running": True}, IMPORTED, False),
        (PENDING, "a", {"last_run": "SUCCESS"}, IMPORTED, False),
        (PENDING, "a", {"last_run": "CANCELED"}, IMPORTED, False),
        (PENDING, "a", {"last_run": "FAILURE"}, SourcesState(3, "a", 2, False, 200.0), True),
        (PENDING, "a", {"last_run": ""}, PENDING, True),
        (PENDING, "b", {"last_run": "FAILURE"}, SourcesState(4, "b", 1, False, 200.0), True),
    ],
)
def test_a_check_gives_a_decision(
    previous_state: SourcesState | None,
    fingerprint: str,
    options: dict[str, Any],
    expected: SourcesState | None,
    should_launch: bool,
) -> None:
    decision = decide_after_check(previous_state, fingerprint, **options)
    assert (decision.state, decision.should_launch) == (expected, should_launch)
    assert decision.message


def test_a_change_is_given_up_after_repeated_failures() -> None:
    state: SourcesState | None = IMPORTED
    decision = decide_after_check(state, "b")
    launch_count = 0
    while decision.should_launch:
        launch_count += 1
        decision = decide_after_check(decision.state, "b", last_run="FAILURE")
    assert launch_count == MAX_ATTEMPTS
    assert f"failed {MAX_ATTEMPTS} times" in decision.message
    assert not decide_after_check(decision.state, "b").should_launch
    assert decide_after_check(decision.state, "c").should_launch


@pytest.mark.long
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["SUCCESS", "FAILURE", ""]))))
def test_a_key_is_never_launched_for_two_states(steps: list[tuple[str, str]]) -> None:
    """This includes a folder that returns to an earlier state; Dagster never runs a key twice."""
    state: SourcesState | None = None
    states: dict[str, str] = {}
    for fingerprint, status in steps:
        decision = decide_after_check(state, fingerprint, last_run=status)
        state = decision.state
        assert state is not None
        if decision.should_launch:
            assert (
                states.setdefault(build_run_key("posts", "ann", 1, state), fingerprint)
                == fingerprint
            )
        assert state.mark == fingerprint  # the decision is based on the stored fingerprint
