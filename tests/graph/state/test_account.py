"""Test an account that several processes share, on SQLite and PostgreSQL, when one is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.graph.state.account_spender import COST, MAX_COST
from twin_resources.access.account import RESERVATION_TIMEOUT_S, SpendingAccount
from twin_resources.access.spending_limits import OverLimitError, SpendingLimit, SpendingLimits
from twin_resources.storage.state.state import State


def start_spender(
    url: str, request_count: int, limit: float, bill: Path, mode: str = ""
) -> subprocess.Popen[str]:
    arguments = [url, str(request_count), str(limit), str(bill), *([mode] if mode else [])]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.graph.state.account_spender", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def let_spend(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def sum_bills(folder: Path) -> float:
    return sum(
        float(line) for path in folder.glob("*.bill") for line in path.read_text().splitlines()
    )


@pytest.mark.long
def test_four_processes_and_a_kill_exceed_no_limit(
    state: State, store_url: str, tmp_path: Path
) -> None:
    """Four processes send 24 requests on a budget of ten; a fifth is killed with a reservation."""
    limit = 10 * MAX_COST
    spenders = [
        start_spender(store_url, 6, limit, tmp_path / f"{number}.bill") for number in range(4)
    ]
    killed_spender = start_spender(store_url, 1, limit, tmp_path / "dying.bill", "die")
    for process in (*spenders, killed_spender):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    let_spend(killed_spender)
    assert killed_spender.stdout is not None
    assert killed_spender.stdout.readline() == "here\n"
    for process in spenders:
        let_spend(process)
    killed_spender.kill()
    assert killed_spender.wait(30) == -9
    assert [process.wait(60) for process in spenders] == [0] * 4

    account = SpendingAccount(state, SpendingLimits(home=SpendingLimit(usd_per_day=limit)))
    spending = account.sum_spending()
    assert spending.reserved_usd == MAX_COST, "not the reservation of the killed process"
    assert 9 * COST <= sum_bills(tmp_path) <= limit
    assert spending.usd + COST == pytest.approx(sum_bills(tmp_path), abs=1e-9)
    assert spending.usd + spending.reserved_usd <= limit

    day = datetime.now(UTC)
    later = SpendingAccount(
        state, account.limits, clock=lambda: time.time() + RESERVATION_TIMEOUT_S + 1
    )
    with pytest.raises(OverLimitError):  # the killed process's reservation counts in full
        later.reserve(purpose="answer", author="ada", key="", max_usd=2 * limit)
    later_spending = later.sum_spending(as_of=day)
    assert later_spending.usd == pytest.approx(spending.usd + MAX_COST, abs=1e-12)
    assert sum_bills(tmp_path) <= later_spending.usd <= limit
