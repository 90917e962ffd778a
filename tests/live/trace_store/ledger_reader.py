"""Sync the ledger repeatedly, in a process that a test kills."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.quality.ledger.ledger import Ledger, LedgerRules
from twin_resources.storage.state.state import State


def main(state_url: str, host: str, public_key: str, secret_key: str) -> None:
    """Sync until killed, with few requests at a time, so that a kill can interrupt any stage."""
    client = LangfuseClient(host, public_key=public_key, secret_key=secret_key)
    rules = LedgerRules(
        requests=6, requests_per_minute=100_000, lag_s=0, reconcile_s=0, closing="at_once"
    )
    ledger = Ledger(State.open(state_url), client, rules)
    while True:
        print(ledger.sync(datetime.now(UTC)).message, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
