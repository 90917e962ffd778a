"""Test which obstacle `twin retrain` names, and when it refuses to start."""

from __future__ import annotations

import pytest
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.retrain_command import find_obstacle, run_retrain

from twin_resources.dagster_runs import Run
from twin_resources.errors import TwinError
from twin_resources.quality.retraining.retrainings import Retraining, RetrainingRequest
from twin_resources.settings import Settings
from twin_resources.statistics.retraining import TrainingFingerprint

RUN = Run("4bf92f35-77b3", "retrain_twin", "STARTED", 0.0, 0.0, None, {"twin/reason": "new posts"})
RETRAINING = Retraining(
    1, "k", "ada", "quality", {}, 0.0, 1, None, "", "", TrainingFingerprint("", "")
)
REQUEST = RetrainingRequest(3, "ada", "by_hand", "command:mara", "new recipe", 0.0, "")


def test_the_most_advanced_of_several_obstacles_is_named() -> None:
    assert find_obstacle(None, [], []) == ""
    assert find_obstacle(RUN, [RETRAINING], [REQUEST]) == "run 4bf92f35 is started (new posts)"
    assert find_obstacle(None, [RETRAINING], [REQUEST]).startswith("one is pending (quality)")
    assert find_obstacle(None, [], [REQUEST]) == "request 3 is waiting to start (new recipe)"


def test_a_reason_and_a_stack_are_required(home: Settings) -> None:
    for reason, next_step in (("  ", "pass a reason"), ("new posts", "twin up")):
        with pytest.raises(TwinError, match=next_step):
            run_retrain(home, author="", reason=reason, wait=False, display=ProgressDisplay())
