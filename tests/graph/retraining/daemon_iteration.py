"""Run two iterations of Dagster's sensor daemon in a process that can be killed.

    python -m tests.graph.retraining.daemon_iteration [CRASH_LOCATION]

At a crash location of Dagster (`TICK_HELD`, `RUN_IDS_RESERVED`, `RUN_CREATED` …) the process kills
itself with SIGKILL. The instance is the one in DAGSTER_HOME. The code location is loaded in
this process, because a code server, which is not under test, would have to start each time.
"""

import logging
import signal
import sys
import time
from typing import Any

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration


class InProcessTarget(WorkspaceLoadTarget):
    """Loads the small code location in this process."""

    def create_origins(self) -> list[InProcessCodeLocationOrigin]:
        module = LoadableTargetOrigin(module_name="tests.graph.retraining.small_location")
        return [InProcessCodeLocationOrigin(module, location_name="llm-twin")]


def main(crash_at: str = "") -> None:
    flags: Any = {"quality_dropped": {crash_at: signal.SIGKILL}} if crash_at else None
    with (
        dg.DagsterInstance.get() as instance,
        create_test_daemon_workspace_context(InProcessTarget(), instance) as workspace,
    ):
        for _ in range(2):
            errors = execute_sensor_iteration(
                workspace,
                logging.getLogger("sensors"),
                threadpool_executor=None,
                submit_threadpool_executor=None,
                debug_crash_flags=flags,
            )
            for error in list(errors or ()):
                if error is not None:
                    print(error, file=sys.stderr)  # noqa: T201
            time.sleep(1.1)  # the sensor's interval


if __name__ == "__main__":
    main(*sys.argv[1:])
