"""Test transactions, the schema version and leases on SQLite and PostgreSQL."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.graph.state.lease_holder import (
    append_under_lease,
    hold_until_killed,
    increment_number,
    open_when_all_are_ready,
)
from twin_resources.storage.state.lease import (
    LeaseBusyError,
    LeaseLostError,
    is_leased,
)
from twin_resources.storage.state.state import State, StateError
from twin_resources.storage.state.state_tables import routing, schema_versions
from twin_resources.storage.storage_faults import DamagedError, UnreachableError

PROCESS_CONTEXT = multiprocessing.get_context("forkserver")
PROCESS_CONTEXT.set_forkserver_preload(["tests.graph.state.lease_holder"])


def insert_row(connection: sa.Connection, number: int) -> None:
    row = {"author": "mara", "table": {"n": number}, "written_at": ""}
    connection.execute(sa.insert(routing).values(**row))


def read_tables(state: State) -> list[Any]:
    with state.read_transaction() as connection:
        return list(connection.execute(sa.select(routing.c.table)).scalars())


def start_process(target: Callable[..., None], *args: object) -> BaseProcess:
    process = PROCESS_CONTEXT.Process(target=target, args=args)
    process.start()
    return process


def wait_for(signal_file: Path) -> None:
    deadline = time.monotonic() + 60
    while not signal_file.exists():
        assert time.monotonic() < deadline, "the other process never took the lease"
        time.sleep(0.02)


def test_an_exception_rolls_a_transaction_back(state: State) -> None:
    def fail() -> None:
        with state.transaction() as connection:
            insert_row(connection, 1)
            raise KeyError("no")

    with pytest.raises(KeyError):
        fail()
    assert read_tables(state) == []
    with state.transaction() as connection:
        insert_row(connection, 2)
    assert read_tables(state) == [{"n": 2}]


def test_a_reader_sees_a_snapshot_and_does_not_wait_for_a_writer(state: State) -> None:
    with state.transaction() as connection:
        insert_row(connection, 1)
    with state.read_transaction() as reader:
        assert reader.execute(sa.select(routing.c.table)).scalar_one() == {"n": 1}
        with state.transaction() as writer:
            writer.execute(sa.update(routing).values(table={"n": 2}))
            assert read_tables(state) == [{"n": 1}], "an uncommitted write is visible"
        assert reader.execute(sa.select(routing.c.table)).scalar_one() == {"n": 1}
    assert read_tables(state) == [{"n": 2}]


def test_writers_of_several_processes_lose_no_update(state: State, store_url: str) -> None:
    with state.transaction() as connection:
        insert_row(connection, 0)
    writers = [start_process(increment_number, store_url, 25) for _ in range(3)]
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    assert read_tables(state) == [{"n": 75}]


def test_reopening_keeps_the_rows(state: State, store_url: str) -> None:
    with state.transaction() as connection:
        insert_row(connection, 5)
    reopened = State.open(store_url)
    assert read_tables(reopened) == [{"n": 5}]
    reopened.close()


def test_several_processes_may_open_an_empty_store_at_once(store_url: str) -> None:
    barrier = PROCESS_CONTEXT.Barrier(4)
    processes = [start_process(open_when_all_are_ready, store_url, barrier) for _ in range(4)]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_a_newer_schema_is_refused_with_advice(state: State, store_url: str) -> None:
    with state.transaction() as connection:
        connection.execute(sa.update(schema_versions).values(number=2))
    with pytest.raises(StateError, match=r"schema version 2; this code reads up to 1.*TWIN_STATE"):
        State.open(store_url)


def test_an_unsupported_database_is_refused_with_the_supported_ones() -> None:
    with pytest.raises(StateError, match=r"type 'mysql'.*SQLite or PostgreSQL.*its outbox"):
        State.open("mysql://twin:geheim@127.0.0.1:9/twin")


def test_an_unreachable_store_is_reported_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"the server is running") as error:
        State.open("postgresql://twin:geheim@127.0.0.1:9/twin")
    assert "geheim" not in str(error.value)
    folder = tmp_path / "state.sqlite"
    folder.mkdir()
    with pytest.raises(DamagedError, match="unable to open"):
        State.open(f"sqlite:///{folder}")


def test_a_lease_has_one_holder_at_a_time(state: State) -> None:
    with state.lease("table"):
        with (
            pytest.raises(LeaseBusyError, match=r"'table'.*process \d+ (on|of)"),
            state.lease("table", wait_s=0.1),
        ):
            pytest.fail("two holders")
        with state.lease("another name", wait_s=0.1):
            pass
    with state.lease("table", wait_s=0.1):
        pass


def test_a_lease_ends_with_an_exception(state: State) -> None:
    with pytest.raises(KeyError), state.lease("table"):
        raise KeyError("no")
    with state.lease("table", wait_s=0.1):
        pass


def test_the_next_holder_acquires_a_lease_when_it_ends(state: State) -> None:
    acquired_at: list[float] = []

    def acquire() -> None:
        with state.lease("table", wait_s=30):
            acquired_at.append(time.monotonic())

    with state.lease("table"):
        waiter = threading.Thread(target=acquire)
        waiter.start()
        time.sleep(0.3)
        assert acquired_at == []
        released_at = time.monotonic()
    waiter.join(10)
    assert acquired_at[0] >= released_at


def test_processes_hold_a_lease_one_after_another(
    store_url: str, state: State, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    processes = [start_process(append_under_lease, store_url, log, name, 5) for name in ("a", "b")]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    spans = sorted((float(x), float(y)) for _, x, y in map(str.split, log.read_text().splitlines()))
    assert len(spans) == 10
    for (_, released_at), (acquired_at, _) in pairwise(spans):
        assert released_at <= acquired_at


def test_a_killed_holder_is_replaced_at_once(store_url: str, state: State, tmp_path: Path) -> None:
    signal_file = tmp_path / "held"
    holder = start_process(hold_until_killed, store_url, signal_file)
    wait_for(signal_file)
    with pytest.raises(LeaseBusyError), state.lease("table", wait_s=0.2):
        pytest.fail("a living holder lost its lease")
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    # The process is still a zombie, which holds no lease.
    with state.lease("table", wait_s=10):
        holder.join()


def break_lock(state: State) -> None:
    """Delete the files of all locks, or end every other session of the server."""
    if not state.is_shared:
        for path in Path(str(state.engine.url.database)).with_name("locks").iterdir():
            path.unlink()
        return
    with state.transaction() as connection:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
        connection.execute(sa.text(end))


def test_nothing_is_written_under_a_lease_whose_lock_is_gone(state: State) -> None:
    with state.lease("table") as first:
        first.check()
        break_lock(state)
        with state.lease("table", wait_s=1) as second:
            with pytest.raises(LeaseLostError, match="nothing was written after the lease"):
                first.check()
            second.check()


def test_a_lease_is_found_without_taking_it(state: State) -> None:
    assert not is_leased(state, "table")
    with state.lease("table"):
        assert is_leased(state, "table")
        assert not is_leased(state, "another")
    assert not is_leased(state, "table")


def test_a_forked_process_does_not_keep_the_lease(state: State) -> None:
    with state.lease("table"):
        child = os.fork()
        if not child:
            time.sleep(600)
    try:
        assert not is_leased(state, "table")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg2://ann:geheim@localhost/twin", "psycopg2"),
        ("postgresql+nobodys://ann:geheim@localhost/twin", "nobodys"),
    ],
)
def test_a_missing_driver_is_reported_with_its_extra(
    url: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)  # as without the extra
    with pytest.raises(StateError, match=expected) as error:
        State.open(url)
    assert "pip install 'llm-twin[aws]'" in error.value.next_step
    assert "geheim" not in str(error.value)


def test_an_invalid_address_is_refused_without_being_printed() -> None:
    with pytest.raises(StateError, match="not a database address") as error:
        State.open("ann:geheim@localhost")
    assert "geheim" not in str(error.value)
