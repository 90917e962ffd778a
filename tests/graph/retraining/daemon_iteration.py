"""Two iterations of Dagster's sensor daemon, in a process of its own that may be killed in one.

    python -m tests.graph.retraining.daemon_iteration [CRASH_LOCATION]

The locations are Dagster's own (`TICK_HELD`, `RUN_IDS_RESERVED`, `RUN_CREATED` …); there the
process kills itself with SIGKILL. The instance is that of DAGSTER_HOME. The location is loaded
here: a code server of its own would be restarted by each process, and is not what is killed.
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


class HereTarget(WorkspaceLoadTarget):
    """The small location, in this process."""

    def create_origins(self) -> list[InProcessCodeLocationOrigin]:
        loaded = LoadableTargetOrigin(module_name="tests.graph.retraining.small_location")
        return [InProcessCodeLocationOrigin(loaded, location_name="llm-twin")]


def main(crash_at: str = "") -> None:
    flags: Any = {"quality_dropped": {crash_at: signal.SIGKILL}} if crash_at else None
    with (
        dg.DagsterInstance.get() as instance,
        create_test_daemon_workspace_context(HereTarget(), instance) as workspace,
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
            time.sleep(1.1)  # the sensor's interval here


if __name__ == "__main__":
    main(*sys.argv[1:])
