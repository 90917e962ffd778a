"""A launcher for tests that starts each step as a local process and records the step's size.

It replaces ECS, Kubernetes or Ray: Dagster's executor is the same; only the step handler differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.init import InitExecutorContext
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)

SIZE_TAG = "tests/processor"


class LocalStepHandler(StepHandler):
    """Starts steps, and writes the process id and size of each into a file named after the step."""

    def __init__(self, record_folder: Path) -> None:
        super().__init__()
        self._record_folder = record_folder
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def name(self) -> str:
        return "local"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        arguments = step_handler_context.execute_step_args
        step = get_step_key(step_handler_context)
        size = step_handler_context.step_tags[step].get(SIZE_TAG, "default")
        variables = {item["name"]: item["value"] for item in arguments.get_command_env()}
        program, *rest = arguments.get_command_args()
        assert program == "dagster"
        # The tests' Python, not the `dagster` program on PATH.
        command = [sys.executable, "-m", "dagster", *rest]
        process = subprocess.Popen(command, env={**os.environ, **variables})
        self._started[step] = process
        (self._record_folder / step).write_text(f"{process.pid} {size}", encoding="utf-8")
        yield from ()

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        if self._started[get_step_key(step_handler_context)].poll():
            return CheckStepHealthResult.unhealthy("the process of the step failed")
        return CheckStepHealthResult.healthy()

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
        self._started[get_step_key(step_handler_context)].terminate()
        yield from ()


def get_step_key(context: StepHandlerContext) -> str:
    steps = list(context.execute_step_args.step_keys_to_execute or [])
    assert len(steps) == 1
    return steps[0]


@dg.executor(
    name="local_steps",
    config_schema={"record_folder": str},
    requirements=multiple_process_executor_requirements(),
)
def local_steps(context: InitExecutorContext) -> StepDelegatingExecutor:
    """Create the executor; a steps file names it as `tests.graph.local_launcher:local_steps`."""
    handler = LocalStepHandler(Path(str(context.executor_config["record_folder"])))
    return StepDelegatingExecutor(
        handler, retries=RetryMode.ENABLED, sleep_seconds=0.1, should_verify_step=True
    )
