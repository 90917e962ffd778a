"""Benchmark gateways on separate hosts that share one PostgreSQL database and one bucket.

    python tests/bench/bench_hosts.py --quick | --full [--json FILE]

Each gateway is a process with an empty folder and the environment of its host (`tests/live/hosts`).
PostgreSQL runs on this machine, and moto provides the bucket. `--quick` has two gateways, `--full`
four. As behind a load balancer, a request whose connection breaks is sent to the next gateway; it
is lost if no gateway answers it.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx
import psutil
from moto.server import ThreadedMotoServer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.rows import Row, bounded_row, create_parser, print_results
from tests.live.gateway.stack import embed_passages
from tests.live.hosts.host import GATEWAY, Host, shared_environment
from tests.model_versions import register_version
from tests.postgresql_server import find_binaries, new_database, running_server
from tests.prepared_embedder import prepare_weights
from tests.simulated_provider.paid_provider import PaidProvider
from tests.simulated_provider.provider_answers import Behavior
from twin_resources.access.account import open_account
from twin_resources.access.account_rows import NANO_PER_DOLLAR
from twin_resources.access.keys import KeyLimits, add_key, open_key_store
from twin_resources.authors import Author, write_author
from twin_resources.registry.registry import Registry
from twin_resources.registry.shared_files import share_file
from twin_resources.storage.state.state import State

STABLE = "twin/ann@stable"
QUESTION = "How much oil does a clock need?"
BUDGET_USD = 0.001  # about 30 paid answers
PAID_QUESTIONS_PER_GATEWAY = 20  # sent simultaneously to each gateway
WAITER_COUNT, WRITE_COUNT = 24, 200
# A program whose threads wait for one lease until it is killed.
WAITING_PROGRAM = """
import sys, threading
from twin_resources.storage.state.state import State
state = State.open(sys.argv[1])
def wait():
    with state.lease("busy", wait_s=600):
        pass
for _ in range(int(sys.argv[2])):
    threading.Thread(target=wait, daemon=True).start()
print("waiting", flush=True)
threading.Event().wait()
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(
        __doc__,
        quick="two gateways, 10 releases, 200 requests",
        full="four gateways, 100 releases, 2,000 requests",
    )
    options = parser.parse_args(arguments)
    with host_environment() as (folder, provider, shared_env):
        gateway_count, release_count, request_count = (
            (4, 100, 2000) if options.full else (2, 10, 200)
        )
        hosts = [Host(folder / f"host{number}", shared_env) for number in range(gateway_count)]
        try:
            start_hosts(hosts)
            with closing(State.open(shared_env["TWIN_STATE_URL"])) as state:
                rows = [
                    measure_releases(hosts, state, release_count),
                    measure_budget(hosts, state, provider),
                    measure_writes(state, shared_env["TWIN_STATE_URL"]),
                    measure_killed_gateway(hosts, request_count),
                ]
        finally:
            for host in hosts:
                host.stop()
    return print_results(rows, options.json)


@contextmanager
def host_environment() -> Iterator[tuple[Path, PaidProvider, dict[str, str]]]:
    """Yield a folder, the paid provider, and the environment variables of every host."""
    postgresql = find_binaries()
    if postgresql is None:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(running_server(postgresql))
        database = stack.enter_context(new_database(server))
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        stack.callback(moto.stop)
        provider = PaidProvider(Behavior(token_s=0.01), folder / "bill.jsonl")
        provider.start()
        stack.callback(provider.end)
        address, port = moto.get_host_and_port()
        yield (
            folder,
            provider,
            shared_environment(f"http://{address}:{port}", database)
            | {
                "TWIN_PAID_MODEL": "openai/gpt-4o-mini",
                "TWIN_PAID_BUDGET_PER_DAY": str(BUDGET_USD),
                "OPENAI_API_KEY": "sk-of-the-provider",
                "OPENAI_BASE_URL": provider.url,
            },
        )


def start_hosts(hosts: Sequence[Host]) -> None:
    """Publish an author's posts on the first host, and start every gateway."""
    first = hosts[0]
    os.environ.update(first.shared)
    copy_weights(hosts)
    embed_passages(first.settings, "ann")
    share_file(first.settings, write_author(first.settings, Author("ann", "Ann Bell")))
    for host in hosts:
        host.start(GATEWAY)
    for host in hosts:
        host.wait(lambda host=host: host.readiness()[1].get("authors") == ["ann"])


def copy_weights(hosts: Sequence[Host]) -> None:
    """Copy the prepared embedder to each host."""
    for host in hosts:
        for prepared in prepare_weights().iterdir():
            if prepared.is_dir() and prepared.name != "wheels":
                shutil.copytree(prepared, host.settings.weights_dir / prepared.name)


def measure_releases(hosts: Sequence[Host], state: State, count: int) -> Row:
    """Measure the time in seconds from a release until every gateway reports the new version."""
    registry = Registry(state, policy_path=hosts[0].settings.policy_path)
    seconds: list[float] = []
    for number in range(1, count + 1):
        register_version(registry, "ann", f"checkpoint-{number}")
        registry.move("ann", number, "refused", actor="gate", reason="a benchmark")
        started = time.monotonic()
        registry.move("ann", number, "stable", actor="a person", reason="a benchmark", force=True)
        for host in hosts:
            host.wait(lambda host=host, number=number: host.version(STABLE) == f"v{number}")
        seconds.append(time.monotonic() - started)
    p99 = statistics.quantiles(seconds, n=100, method="inclusive")[98]
    name = f"{count} releases, each seen by {len(hosts)} gateways, p99"
    return bounded_row(name, p99, "s", at_most=2.0, peers={"median": statistics.median(seconds)})


def measure_budget(hosts: Sequence[Host], state: State, provider: PaidProvider) -> Row:
    """Measure the bill for many simultaneous paid questions, as a fraction of the day's budget."""
    with closing(open_key_store(hosts[0].settings)) as keys:
        limits = KeyLimits(frozenset({"paid"}))
        key = add_key(keys, role="site", authors=["*"], label="budget", limits=limits)

    def ask(number: int) -> int:
        return ask_question(hosts[number % len(hosts)], key, "twin/ann@paid", f"{QUESTION} (long)")

    count = PAID_QUESTIONS_PER_GATEWAY * len(hosts)
    with ThreadPoolExecutor(count) as pool:
        statuses = list(pool.map(ask, range(count)))
    account = open_account(hosts[0].settings, state)
    hosts[0].wait(lambda: account.sum_spending().reserved_usd == 0)
    budget_share = provider.bill.nano / (BUDGET_USD * NANO_PER_DOLLAR)
    return Row(
        f"bill for {count} simultaneous paid questions / daily budget",
        budget_share,
        "×",
        1.0,
        0 < budget_share <= 1.0,
        {"answered": statuses.count(200), "refused": statuses.count(429)},
    )


def measure_writes(state: State, url: str) -> Row:
    """Measure how much the p95 write time grows while other threads wait for one lease."""
    idle = p95_write_seconds(state)
    with state.lease("busy"):
        command = [sys.executable, "-c", WAITING_PROGRAM, url, str(WAITER_COUNT)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == "waiting\n"
            time.sleep(2)  # until every thread has tried once
            busy = p95_write_seconds(state)
            waiting.kill()
    name = f"write time with {WAITER_COUNT} threads waiting for one lease / idle, p95"
    peers = {"idle ms": idle * 1e3, "busy ms": busy * 1e3}
    return bounded_row(name, busy / idle, "×", at_most=2.0, peers=peers)


def p95_write_seconds(state: State) -> float:
    """Return the 95th-percentile duration, in seconds, of sequential write transactions."""
    seconds: list[float] = []
    for number in range(WRITE_COUNT):
        started = time.perf_counter()
        with state.lease(f"write {number}"):
            seconds.append(time.perf_counter() - started)
        time.sleep(0.01)
    return statistics.quantiles(seconds, n=20, method="inclusive")[18]


def measure_killed_gateway(hosts: Sequence[Host], count: int) -> Row:
    """Count how many requests of eight clients are lost when a gateway is killed."""
    with closing(open_key_store(hosts[0].settings)) as keys:
        key = add_key(keys, role="site", authors=["*"], label="a site")
    retries: list[int] = []

    def ask(number: int) -> int:
        for host in (hosts[(number + shift) % len(hosts)] for shift in range(len(hosts))):
            if status := ask_question(host, key, "twin/ann", QUESTION):
                return status
            retries.append(number)
        return 0

    def kill(host: Host) -> None:
        gateway = psutil.Process(host.processes[GATEWAY].pid)
        for process in (gateway, *gateway.children(recursive=True)):
            process.send_signal(signal.SIGKILL)

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(ask, number) for number in range(count)]
        while sum(future.done() for future in futures) < count // 3:
            time.sleep(0.01)
        kill(hosts[-1])
        statuses = [future.result() for future in futures]
    lost = count - statuses.count(200)
    name = f"questions lost of {count} sent to {len(hosts)} gateways, one of them killed"
    return bounded_row(name, lost, "", at_most=0, peers={"asked again": len(retries)})


def ask_question(host: Host, key: str, model: str, question: str) -> int:
    """Send a question; return the status, or 0 if the connection breaks or is refused."""
    try:
        response = httpx.post(
            f"http://127.0.0.1:{host.port}/v1/chat/completions",
            headers={"Authorization": f"Bearer {key}"},
            json={
                "model": model,
                "messages": [{"role": "user", "content": question}],
                "max_tokens": 40,
            },
            trust_env=False,
            timeout=120,
        )
    except httpx.TransportError:
        return 0
    return response.status_code


if __name__ == "__main__":
    sys.exit(main())
