"""The account shared by four processes, one of them killed: on SQLite and on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.graph.state.account_spender import COST, MOST
from twin_resources.access.account import DEADLINE_S, SpendingAccount
from twin_resources.access.spending_limits import OverLimitError, SpendingLimit, SpendingLimits
from twin_resources.storage.state.state import State


def start(
    url: str, requests: int, limit: float, bill: Path, how: str = ""
) -> subprocess.Popen[str]:
    arguments = [url, str(requests), str(limit), str(bill), *([how] if how else [])]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.graph.state.account_spender", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def billed(folder: Path) -> float:
    return sum(
        float(line) for path in folder.glob("*.bill") for line in path.read_text().splitlines()
    )


def test_four_processes_and_a_kill_pass_no_limit(
    state: State, store_url: str, tmp_path: Path
) -> None:
    """24 requests of four processes on a budget of ten; a fifth dies with a reservation."""
    limit = 10 * MOST
    spenders = [start(store_url, 6, limit, tmp_path / f"{number}.bill") for number in range(4)]
    dying = start(store_url, 1, limit, tmp_path / "dying.bill", "die")
    for process in (*spenders, dying):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    begin(dying)
    assert dying.stdout is not None
    assert dying.stdout.readline() == "here\n"
    for process in spenders:
        begin(process)
    dying.kill()
    assert dying.wait(30) == -9
    assert [process.wait(60) for process in spenders] == [0] * 4

    account = SpendingAccount(state, SpendingLimits(home=SpendingLimit(usd_per_day=limit)))
    spending = account.sum_spending()
    assert spending.reserved_usd == MOST, "what the dead one held"
    assert 9 * COST <= billed(tmp_path) <= limit
    assert spending.usd + COST == pytest.approx(billed(tmp_path), abs=1e-9)
    assert spending.usd + spending.reserved_usd <= limit

    day = datetime.now(UTC)
    later = SpendingAccount(state, account.limits, clock=lambda: time.time() + DEADLINE_S + 1)
    with pytest.raises(OverLimitError):  # whoever reserves next counts the dead one's, in full
        later.reserve(purpose="answer", author="ada", key="", max_usd=2 * limit)
    settled = later.sum_spending(as_of=day)
    assert settled.reserved_usd == MOST, "a refused reservation changes nothing"
    later.release(later.reserve(purpose="label", author="bob", key="", max_usd=0.0))
    settled = later.sum_spending(as_of=day)
    assert settled.usd == pytest.approx(spending.usd + MOST, abs=1e-12)
    assert billed(tmp_path) <= settled.usd <= limit
