"""Run an erasure that stops before a named step, by SIGKILL or by an exception.

Scope: the names of the steps, and the interruption. Out of scope: checking the remaining data
(`test_interrupted_erasure.py`).
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


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt_before(step_name: str, stop: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Call `stop` before the named step begins."""

    def add_interruption(owner: Any, name: str, get_step_name: Callable[..., str]) -> None:
        step = getattr(owner, name)

        def interruptible_step(*arguments: Any, **keywords: Any) -> Any:
            if get_step_name(*arguments) == step_name:
                stop()
            return step(*arguments, **keywords)

        patch.setattr(owner, name, interruptible_step)

    for name in ("write_plan", "record_forgotten_posts", "close_request"):
        add_interruption(journal, name, lambda *_, name=name: name)
    add_interruption(journal, "record_step", lambda *arguments: f"record_step {arguments[2]}")
    for name in ("list_stores", "write_certificate", "_delete_fingerprints"):
        add_interruption(erasing, name, lambda *_, name=name: name)
    add_interruption(Tables, "forget", lambda *arguments: f"forget {arguments[1]}")


def main() -> None:
    number, step_name = int(sys.argv[1]), sys.argv[2]
    with pytest.MonkeyPatch.context() as patch:
        interrupt_before(step_name, kill_this_process, patch)
        installation = Installation.for_settings(load_settings())
        with open_records(installation) as records:
            erasing.run_erasure(installation, number, dagster=records)


if __name__ == "__main__":
    main()
