"""Provide functions that the lease tests run in other processes, without assertions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import routing


def hold_until_killed(url: str, signal_file: Path) -> None:
    """Acquire the lease `table`, create the file `signal_file`, and keep the lease."""
    with State.open(url).lease("table"):
        signal_file.touch()
        time.sleep(600)


def open_when_all_are_ready(url: str, barrier: Any) -> None:
    """Open a store twenty times, starting at the same moment as other processes."""
    barrier.wait()
    for _ in range(20):
        State.open(url).close()


def increment_number(url: str, times: int) -> None:
    """Increment a stored number `times` times by reading and writing it."""
    state = State.open(url)
    for _ in range(times):
        with state.transaction() as connection:
            before = connection.execute(sa.select(routing.c.table)).scalar_one()["n"]
            connection.execute(sa.update(routing).values(table={"n": before + 1}))
    state.close()


def append_under_lease(url: str, log: Path, name: str, times: int) -> None:
    """Log `times` times when this process acquired and released the lease."""
    state = State.open(url)
    for _ in range(times):
        with state.lease("table", wait_s=60):
            acquired_at = time.monotonic()
            time.sleep(0.02)
            with log.open("a") as lines:
                lines.write(f"{name} {acquired_at} {time.monotonic()}\n")
    state.close()
