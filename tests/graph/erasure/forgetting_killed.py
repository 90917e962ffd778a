"""Run an erasure that stops before a named step, by SIGKILL to itself or by an exception.

Scope: the names of the steps and the interruption. Out of scope: checking the remaining data
(`test_killed.py`).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from twin_resources.erasure import erasing, journal
from twin_resources.erasure.dagster_records import open_records
from twin_resources.erasure.data_store import Installation
from twin_resources.settings import load_settings
from twin_resources.storage.tables.tables import Tables

# In execution order: at each interruption, all earlier steps are done.
STEPS = (
    "write_plan",
    "record_forgotten_posts",
    "list_stores",
    "record_step outbox",
    "record_step traces",
    "forget embeddings",  # a table, in the middle of the step
    "forget raw_posts",
    "record_step tables",
    "record_step checkpoints",
    "record_step dagster",
    "record_step files",
    "record_step state",
    "write_certificate",
    "close_request",
    "_delete_fingerprints",
)


class Interrupted(BaseException):
    """An exception that no handler of the project catches."""


def raise_interrupted() -> None:
    raise Interrupted


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt_before(step_name: str, stop: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Call `stop` before the named step begins."""

    def guard(owner: Any, name: str, label: Callable[..., str]) -> None:
        step = getattr(owner, name)

        def guarded(*arguments: Any, **keywords: Any) -> Any:
            if label(*arguments) == step_name:
                stop()
            return step(*arguments, **keywords)

        patch.setattr(owner, name, guarded)

    for name in ("write_plan", "record_forgotten_posts", "close_request"):
        guard(journal, name, lambda *_, name=name: name)
    guard(journal, "record_step", lambda *arguments: f"record_step {arguments[2]}")
    for name in ("list_stores", "write_certificate", "_delete_fingerprints"):
        guard(erasing, name, lambda *_, name=name: name)
    guard(Tables, "forget", lambda *arguments: f"forget {arguments[1]}")


def main() -> None:
    number, step_name = int(sys.argv[1]), sys.argv[2]
    with pytest.MonkeyPatch.context() as patch:
        interrupt_before(step_name, kill_itself, patch)
        instance = Installation.for_settings(load_settings())
        with open_records(instance) as records:
            erasing.run_erasure(instance, number, dagster=records)


if __name__ == "__main__":
    main()
