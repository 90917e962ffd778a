"""Report the progress of training to the Dagster run.

Scope: the launcher that forwards messages. Out of scope: launching
(`twin_resources/models/training_launcher`), the assets (`checkpoints.py`).
Method: Dagster Pipes, https://docs.dagster.io/guides/build/external-pipelines

Rank 0 reports each step to the run's log through Pipes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from twin_resources.models.training_launcher import Message, TrainingJob, TrainingLauncher


class ProgressReportingLauncher:
    """A launcher that shows training progress in Dagster."""

    def __init__(self, context: dg.AssetExecutionContext, launcher: TrainingLauncher) -> None:
        self._context = context
        self._launcher = launcher

    @property
    def shares_files(self) -> bool:
        return self._launcher.shares_files

    def run(
        self,
        job: TrainingJob,
        *,
        on_message: Callable[[Message], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Path:
        reader = dg.PipesTempFileMessageReader() if self.shares_files else _LauncherReader()

        def report_message(message: Message) -> None:
            text = message.get("text", "")
            if text and not text.startswith("resuming "):  # rank 0 reports this itself
                self._context.log.info(text)
            if "pipes" in message and isinstance(reader, _LauncherReader):
                reader.handle_line(message["pipes"])
            if on_message is not None:
                on_message(message)

        injector = (
            dg.PipesTempFileContextInjector() if self.shares_files else dg.PipesEnvContextInjector()
        )
        with dg.open_pipes_session(self._context, injector, reader) as session:
            variables = {**session.get_bootstrap_env_vars(), **(environment or {})}
            return self._launcher.run(job, on_message=report_message, environment=variables)


class _LauncherReader(dg.PipesMessageReader):
    """Reader of rank 0's Pipes messages, which the launcher forwards from another machine."""

    def __init__(self) -> None:
        self._handler: dg.PipesMessageHandler | None = None

    @contextmanager
    def read_messages(self, handler: dg.PipesMessageHandler) -> Iterator[dict[str, Any]]:
        self._handler = handler
        yield {"stdio": "stdout"}

    def handle_line(self, line: str) -> None:
        assert self._handler is not None
        self._handler.handle_message(json.loads(line))

    def no_messages_debug_text(self) -> str:
        return "The training log, to which rank 0 prints, contains no message."
