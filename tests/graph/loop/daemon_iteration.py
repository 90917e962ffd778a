"""Two iterations of Dagster's sensor daemon, in a process of its own that may be killed in one.

    python -m tests.graph.loop.daemon_iteration [CRASH_LOCATION]

The locations are Dagster's own (`TICK_HELD`, `RUN_IDS_RESERVED`, `RUN_CREATED` …); there the
process kills itself with SIGKILL. The instance is that of DAGSTER_HOME.
"""

import logging
import signal
import sys
import time
from typing import Any

import dagster as dg
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration


def main(crash_at: str = "") -> None:
    flags: Any = {"quality_dropped": {crash_at: signal.SIGKILL}} if crash_at else None
    target = ModuleTarget(
        module_name="tests.graph.loop.small_location",
        attribute=None,
        working_directory=None,
        location_name="llm-twin",
    )
    with (
        dg.DagsterInstance.get() as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
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
