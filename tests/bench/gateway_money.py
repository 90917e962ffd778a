"""Compare the spending account with the provider's bill, and check that limits are not exceeded.

    python -m tests.bench.gateway_money --quick | --full [--json FILE]

Scope: gateways on one home, in front of the simulated provider, and simultaneous questions.
Out of scope: the provider (`tests/simulated_provider`), CPU and load (`bench_gateway.py`).

The limit is a key's $0.0001 per day: two or three answers at the price of gpt-4o-mini. When it was
checked before an answer but charged afterwards, the bill was 10.1 times the limit. `--quick` has
one gateway, `--full` four, one of which is killed halfway. The comparison with the bill covers
answers, streams, readers who leave, streams that break off, and refusals. It excludes cut
connections and answers without usage, whose cost the gateway does not know.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.bench.rows import Row, create_parser, print_results
from tests.free_ports import free_port
from tests.live.gateway.stack import Stack, new_stack
from tests.live.gateway.tiny_gguf import write_tiny_gguf
from tests.prepared_base import base_gguf
from tests.prepared_embedder import prepare_weights
from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behavior
from twin_resources.access.account import NANO_PER_DOLLAR, open_account
from twin_resources.access.keys import KeyLimits, add_key, open_key_store
from twin_resources.storage.state.home_state import open_home_state

MODEL = "openai/gpt-4o-mini"
LIMIT_USD = 0.0001
SIMULTANEOUS_QUESTIONS = 24
MAX_DIFFERENCE_PERCENT = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(
        "Compare the account with the bill.",
        quick="one gateway, 40 requests",
        full="four gateways, 400 requests",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = money_rows(Path(folder), is_full=options.full)
    return print_results(rows, options.json)


def money_rows(folder: Path, *, is_full: bool) -> list[Row]:
    """Start gateways and return every row."""
    model = write_tiny_gguf(folder / "tiny.gguf", tokenizer_from=base_gguf())
    provider = PaidProvider(Behavior(token_s=0.01), folder / "bill.jsonl")
    provider.start()
    environ = {
        "TWIN_PAID_MODEL": MODEL,
        "TWIN_PAID_BUDGET_PER_DAY": "100",
        "OPENAI_API_KEY": "sk-of-the-provider",
        "OPENAI_BASE_URL": provider.url,
    }
    with new_stack(folder, prepare_weights(), model, environ=environ) as stack:
        stack.start_model("base")
        gateways = [stack]
        for _ in range(3 if is_full else 0):
            settings = stack.settings.model_copy(update={"gateway_port": free_port()})
            gateways.append(Stack(settings, model, environ))
        try:
            for gateway in gateways:
                gateway.start_gateway()
            rows = [
                limit_row(gateways, provider, kill=False),
                bill_row(gateways, provider, request_count=400 if is_full else 40),
            ]
            if is_full:
                rows.append(limit_row(gateways, provider, kill=True))
        finally:
            for gateway in gateways[1:]:
                gateway.stop()
    provider.end()
    return rows


def limit_row(gateways: Sequence[Stack], provider: PaidProvider, *, kill: bool) -> Row:
    """Return the row for the cost of simultaneous questions / the key's limit."""
    with closing(open_key_store(gateways[0].settings)) as state:
        limits = KeyLimits(frozenset({"paid"}), usd_per_day=LIMIT_USD)
        label = f"24 at once {time.time()}"
        key = add_key(state, role="site", authors=["*"], label=label, limits=limits)
    nano_before = provider.bill.nano

    def ask(number: int) -> int:
        gateway = gateways[number % len(gateways)]
        try:
            return gateway.post(_body("long", stream=False), key=key).status_code
        except httpx.TransportError:
            return 0  # the gateway was killed

    with ThreadPoolExecutor(SIMULTANEOUS_QUESTIONS) as pool:
        futures = [pool.submit(ask, number) for number in range(SIMULTANEOUS_QUESTIONS)]
        if kill:
            gateways[0].wait(lambda: provider.bill.nano > nano_before, seconds=60)
            gateways[-1].worker().send_signal(signal.SIGKILL)
        answer_count = [future.result() for future in futures].count(200)
    share = (provider.bill.nano - nano_before) / (LIMIT_USD * NANO_PER_DOLLAR)
    label = f"answers, {len(gateways)} gateways"
    label += ", one killed" if kill else ""
    return Row(
        f"bill for {SIMULTANEOUS_QUESTIONS} paid {label} / limit of ${LIMIT_USD}",
        share,
        "×",
        1.0,
        0 < share <= 1.0,
        {"answered": answer_count},
    )


def bill_row(gateways: Sequence[Stack], provider: PaidProvider, *, request_count: int) -> Row:
    """Return the row for the account minus the bill, in percent of the bill."""
    rng = random.Random(7)
    kinds = ("", "", "left", "left", "broken", "429", "500")
    request_kinds = [rng.choice(kinds) for _ in range(request_count)]
    bill_before, account_before = provider.bill.nano, _sum_accounts(gateways[0], "nano")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda request: _ask(gateways, *request), enumerate(request_kinds)))
    gateways[0].wait(lambda: _sum_accounts(gateways[0], "reserved_nano") == 0, seconds=60)
    billed_nano = provider.bill.nano - bill_before
    settled_nano = _sum_accounts(gateways[0], "nano") - account_before
    difference = (settled_nano - billed_nano) / billed_nano * 100
    return Row(
        f"account minus bill, {request_count} requests",
        difference,
        "%",
        MAX_DIFFERENCE_PERCENT,
        abs(difference) <= MAX_DIFFERENCE_PERCENT,
        {"bill $": billed_nano / NANO_PER_DOLLAR, "account $": settled_nano / NANO_PER_DOLLAR},
    )


def _ask(gateways: Sequence[Stack], number: int, kind: str) -> None:
    gateway = gateways[number % len(gateways)]
    if kind != "left":
        gateway.post(_body(kind, stream=kind == "broken" or number % 2 == 0))
        return
    with gateway.stream(_body("long", stream=True)) as response:
        next(line for line in response.iter_lines() if '"content":"' in line)


def _body(kind: str, *, stream: bool) -> dict[str, Any]:
    question = f"How much oil? ({kind})" if kind else "How much oil does a clock need?"
    body: dict[str, Any] = {
        "model": "twin/ann@paid",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 40,
    }
    return body | ({"stream": True} if stream else {})


def _sum_accounts(stack: Stack, column: str) -> int:
    """Return the sum of a column over the account's rows, in nano-dollars."""
    with closing(open_home_state(stack.settings)) as state:
        return sum(int(row[column]) for row in open_account(stack.settings, state).list_spending())


if __name__ == "__main__":
    raise SystemExit(main())
