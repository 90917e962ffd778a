"""Spend money in a process of the account tests; this module contains no assertions.

    python -m tests.graph.state.account_spender URL REQUESTS LIMIT BILL [die]

Each request costs 90 % of its reservation. Like a provider, the process writes the cost to BILL
before it settles the request. With `die`, the last request is never settled: the process prints
"here" and waits to be killed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from twin_resources.access.account import SpendingAccount
from twin_resources.access.spending_limits import OverLimitError, SpendingLimit, SpendingLimits
from twin_resources.storage.state.state import State

MAX_COST, COST = 0.0001, 0.00009


def print_line(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main(url: str, request_count: int, limit: float, bill: str, mode: str = "") -> None:
    limits = SpendingLimits(home=SpendingLimit(usd_per_day=limit))
    account = SpendingAccount(State.open(url), limits)
    print_line("ready")
    sys.stdin.readline()
    for number in range(request_count):
        try:
            reservation = account.reserve(purpose="answer", author="ada", key="k", max_usd=MAX_COST)
        except OverLimitError:
            continue
        with Path(bill).open("a", encoding="utf-8") as stream:
            stream.write(f"{COST}\n")
        if mode and number == request_count - 1:
            break
        account.settle(reservation, COST)
    if mode:
        print_line("here")
        time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
