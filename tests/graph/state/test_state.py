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
    boot_identity,
    process_start_time,
)
from twin_resources.storage.state.state import State, StateError
from twin_resources.storage.state.state_tables import leases, routing, schema_versions
from twin_resources.storage.storage_faults import DamagedError, UnreachableError

PROCESS_CONTEXT = multiprocessing.get_context("forkserver")
DAY_S = 86_400.0
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
            pytest.raises(LeaseBusyError, match=rf"'table'.*process {os.getpid()} on"),
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


def test_waiting_for_a_lease_does_not_block_writers(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_times: list[float] = []
    transaction = state.transaction

    def record_transaction() -> Any:
        write_times.append(time.monotonic())
        return transaction()

    with state.lease("table"):
        monkeypatch.setattr(state, "transaction", record_transaction)
        with pytest.raises(LeaseBusyError), state.lease("table", wait_s=1.0):
            pass
        assert len(write_times) == 2, "expected one write before the wait and one after it"


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
    holder = start_process(hold_until_killed, store_url, signal_file, 600.0)
    wait_for(signal_file)
    with pytest.raises(LeaseBusyError), state.lease("table", wait_s=0.2):
        pytest.fail("a living holder lost its lease")
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    # Only ten of its 600 seconds pass. The process is still a zombie, which holds no lease.
    with state.lease("table", wait_s=10):
        holder.join()


def test_a_reused_process_number_is_not_the_holder(state: State) -> None:
    with state.lease("table") as first:
        with state.transaction() as connection:
            connection.execute(sa.update(leases).values(process_started="1"))
        with state.lease("table", wait_s=1):
            pass
        with pytest.raises(LeaseLostError):
            first.renew()


def test_a_holder_on_another_machine_keeps_a_lease_until_it_expires(state: State) -> None:
    with state.lease("table", ttl_s=600):
        with state.transaction() as connection:
            other_machine = {"machine": "elsewhere/boot/pid", "boot": "elsewhere", "pid": 1}
            connection.execute(sa.update(leases).values(other_machine))
        with (
            pytest.raises(LeaseBusyError, match="process 1 on elsewhere"),
            state.lease("table", wait_s=0.2),
        ):
            pytest.fail("a living holder lost its lease")
        with state.transaction() as connection:
            past = state.now(connection) - 1
            connection.execute(sa.update(leases).values(expires_at=past))
        with state.lease("table", wait_s=0.2):
            pass


def test_a_living_holder_renews_its_lease(state: State) -> None:
    with state.lease("table", ttl_s=2.0) as lease:
        with state.transaction() as connection:
            other_machine = {"machine": "elsewhere/boot/pid", "boot": "elsewhere"}
            connection.execute(sa.update(leases).values(other_machine))
        with pytest.raises(LeaseBusyError), state.lease("table", wait_s=3.0):
            pytest.fail("the holder did not renew")
        lease.renew()


def store_abandoned_lease(state: State, *, boot: str, ends_in_s: float, ttl_s: float) -> None:
    """Store a lease that nobody renews: its holder, in another container, was killed.

    Args:
        ends_in_s: seconds until the lease expires by the monotonic clock; the wall clock was then
            set back by a day.
    """
    with state.transaction() as connection:
        row = {
            "name": "table", "holder": "gone", "machine": "elsewhere/boot/pid", "pid": 1,
            "process_started": "1", "acquired_at": state.now(connection) + DAY_S, "boot": boot,
            "expires_at": state.now(connection) + DAY_S,
            "expires_monotonic": time.monotonic() + ends_in_s, "ttl_s": ttl_s,
        }  # fmt: skip
        connection.execute(sa.insert(leases).values(row))


def test_a_clock_set_back_does_not_extend_a_lease_of_the_same_boot(state: State) -> None:
    store_abandoned_lease(state, boot=boot_identity(), ends_in_s=1.0, ttl_s=600)
    with pytest.raises(LeaseBusyError), state.lease("table", wait_s=0.2):
        pytest.fail("the lease ended before its time")
    with state.lease("table", wait_s=10):
        pass


def test_a_clock_set_back_does_not_extend_a_lease_of_another_machine(state: State) -> None:
    store_abandoned_lease(state, boot="elsewhere", ends_in_s=0, ttl_s=1.0)
    for _ in range(2):  # the second waiter continues the first one's wait
        with pytest.raises(LeaseBusyError), state.lease("table", wait_s=0.2):
            pytest.fail("the lease ended before its time")
    with state.lease("table", wait_s=10):
        pass


def test_a_clock_set_forward_ends_no_lease_of_a_living_holder(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    with state.lease("table", ttl_s=600) as lease:
        with state.transaction() as connection:  # another container of this machine
            connection.execute(sa.update(leases).values(machine="elsewhere/boot/pid"))
        with monkeypatch.context() as patch:
            real_now = State.now
            patch.setattr(State, "now", lambda *arguments: real_now(*arguments) + DAY_S)
            with pytest.raises(LeaseBusyError), state.lease("table", wait_s=0.2):
                pytest.fail("a living holder lost its lease")
        lease.renew()


def test_renewing_a_lost_lease_is_an_error(state: State) -> None:
    with state.lease("table") as lease:
        with state.transaction() as connection:
            connection.execute(sa.delete(leases))
        with pytest.raises(LeaseLostError, match="nothing was written after the lease was lost"):
            lease.renew()


def test_ending_a_lost_lease_keeps_the_new_holders_lease(state: State) -> None:
    with state.lease("table"), state.transaction() as connection:
        connection.execute(sa.update(leases).values(holder="somebody else"))
    with state.read_transaction() as connection:
        assert connection.execute(sa.select(leases.c.holder)).scalar_one() == "somebody else"


def test_a_process_is_identified_by_its_start_time() -> None:
    start_time = process_start_time(os.getpid())
    assert start_time is not None
    assert start_time == process_start_time(os.getpid())
    assert process_start_time(2**22 + 1) is None


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
