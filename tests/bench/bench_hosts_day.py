"""Measure a day of many authors on two hosts; daemon, gateway and trace store are killed once.

    python tests/bench/bench_hosts_day.py --quick | --full [--json FILE]

One host runs Dagster's code server and daemon, the other a gateway and its relay. Each starts with
an empty folder. They share PostgreSQL, a bucket (moto) with the tables and every author's posts,
and a trace store. The daemon's sensor imports every author, while a reader asks and votes. Then a
tenth of the authors write one more post. `--quick` has 6 authors, `--full` 200.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.bench_hosts import copy_weights, host_environment
from tests.bench.rows import Row, create_parser, print_results
from tests.free_ports import free_port
from tests.graph.s3 import REGION, make_s3_client
from tests.live.hosts.host import GATEWAY, Host
from twin_resources.access.keys import add_key, open_key_store
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

POST_COUNT = 3  # for each author
TRACE_STORE_MODULE = "twin_resources.observability.trace_store.local_store"
TRACE_KEYS = ("pk-lf-day", "sk-lf-day")
# Prints the author and status of every import that Dagster has recorded.
LIST_RUNS_PROGRAM = """
import dagster, json, os
os.environ["DAGSTER_HOME"] = os.environ["TWIN_HOME"] + "/dagster"
runs = dagster.DagsterInstance.get().get_runs(dagster.RunsFilter(job_name="import_posts"))
print(json.dumps([[run.tags["dagster/partition"], run.status.value] for run in runs]))
"""


@dataclass
class Reader:
    """A reader who asks imported authors and votes on every answer, until `stop` is set."""

    gateway: str
    key: str
    authors: list[str] = field(default_factory=list[str])  # imported so far
    stop: threading.Event = field(default_factory=threading.Event)
    statuses: Counter[int] = field(default_factory=Counter[int])
    voted_ids: set[str] = field(default_factory=set[str])  # trace ids whose vote was accepted
    retry_count: int = 0

    def run(self) -> None:
        number = 0
        while not self.stop.wait(0.2):
            if not self.authors:
                continue
            author = self.authors[number % len(self.authors)]
            question = {"role": "user", "content": f"Which oil did {author} put into clock 1?"}
            body = {"model": f"twin/{author}", "messages": [question]}
            response = self._post("v1/chat/completions", body)
            self.statuses[response.status_code] += 1
            trace_id = response.headers.get("x-twin-trace-id", "")
            vote = self._post("twin/feedback", {"trace_id": trace_id, "thumb": "up"})
            if vote.status_code == 200:
                self.voted_ids.add(trace_id)
            number += 1

    def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Send a request and, as a client does, repeat it while the gateway is down."""
        while True:
            try:
                return httpx.post(
                    f"{self.gateway}/{path}",
                    json=body,
                    headers={"Authorization": f"Bearer {self.key}"},
                    trust_env=False,
                    timeout=120,
                )
            except httpx.TransportError:
                self.retry_count += 1
                time.sleep(0.2)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = create_parser(__doc__, quick="6 authors", full="200 authors")
    options = parser.parse_args(arguments)
    slugs = [f"author-{number:03}" for number in range(200 if options.full else 6)]
    with host_environment() as (folder, _, variables):
        traces_port = free_port()
        shared = variables | {
            "AWS_DEFAULT_REGION": REGION,
            "LANGFUSE_HOST": f"http://127.0.0.1:{traces_port}",
            "LANGFUSE_PUBLIC_KEY": TRACE_KEYS[0],
            "LANGFUSE_SECRET_KEY": TRACE_KEYS[1],
            "TWIN_TRACES_PUBLIC_KEY": TRACE_KEYS[0],
            "TWIN_TRACES_SECRET_KEY": TRACE_KEYS[1],
            "TWIN_TRACES_PORT": str(traces_port),
        }
        os.environ.update(shared)
        hosts = [Host(folder / name, shared) for name in ("worker", "answers", "traces")]
        try:
            rows = measure_day(*hosts, slugs=slugs)
        finally:
            for host in hosts:
                host.stop()
    return print_results(rows, options.json)


def measure_day(worker: Host, answers: Host, traces: Host, *, slugs: Sequence[str]) -> list[Row]:
    """Run the day on two hosts (worker, gateway) and a trace store, and return its rows."""
    copy_weights((worker, answers))
    write_posts(worker, slugs, range(POST_COUNT))
    apply_authors(worker, slugs)
    traces.start_module("traces", TRACE_STORE_MODULE)
    with closing(open_key_store(answers.settings)) as keys:
        key = add_key(keys, role="site", authors=["*"], label="a site")
    answers.start(GATEWAY, "relay")
    reader = Reader(f"http://127.0.0.1:{answers.port}", key)
    thread = threading.Thread(target=reader.run, daemon=True)
    thread.start()
    started = time.monotonic()
    worker.start("dagster-code", "dagster-daemon")
    with closing(State.open(worker.shared["TWIN_STATE_URL"])) as state:
        tables = Tables(worker.settings.tables_base, state=state)

        row_counts = dict.fromkeys(slugs, 0)  # as last seen; an imported author is not read again

        def find_imported(row_count: int, authors: Sequence[str] = slugs) -> list[str]:
            for slug in authors:
                if row_counts[slug] < row_count and all(
                    tables.exists(asset, slug) and tables.read(asset, slug).height
                    for asset in ("embeddings", "passage_embeddings")
                ):
                    row_counts[slug] = tables.read("cleaned_documents", slug).height
            reader.authors = [slug for slug in slugs if row_counts[slug]]
            return [slug for slug in authors if row_counts[slug] >= row_count]

        def wait_for(
            count: int, authors: Sequence[str] = slugs, *, row_count: int = POST_COUNT
        ) -> None:
            wait_while_progress(worker, lambda: len(find_imported(row_count, authors)), count)

        wait_for(len(slugs) // 4)
        kill(worker, "dagster-daemon")
        worker.start("dagster-daemon")
        wait_for(len(slugs) // 2)
        kill(answers, GATEWAY)
        answers.start(GATEWAY)
        wait_for(len(slugs) * 3 // 4)
        kill(traces, "traces")
        traces.start_module("traces", TRACE_STORE_MODULE)
        wait_for(len(slugs))
        seconds, cpu = time.monotonic() - started, cpu_seconds(worker)
        changed = slugs[: max(1, len(slugs) // 10)]
        write_posts(worker, changed, range(POST_COUNT, POST_COUNT + 1))
        wait_for(len(changed), changed, row_count=POST_COUNT + 1)
        reader.stop.set()
        thread.join()
        documents = {slug: tables.read("cleaned_documents", slug) for slug in slugs}
    expected = {slug: POST_COUNT + (slug in changed) for slug in slugs}
    wrong_count = sum(frame.height != expected[slug] for slug, frame in documents.items())
    worker.wait(lambda: not has_unfinished(list_runs(worker)))
    runs = list_runs(worker)
    succeeded = Counter(slug for slug, status in runs if status == "SUCCESS")
    extra_imports = sum(succeeded[slug] - 1 - (slug in changed) for slug in slugs)
    wait_while_progress(answers, lambda: len(read_votes(traces)), len(reader.voted_ids))
    votes = read_votes(traces)
    lost_count = len(reader.voted_ids - set(votes))
    question_count = sum(reader.statuses.values())
    return [
        zero_goal_row(f"{len(slugs)} authors: with missing or doubled posts", wrong_count),
        zero_goal_row(
            "more imports than changes", extra_imports, failed=len(runs) - succeeded.total()
        ),
        zero_goal_row(
            f"{question_count} questions: lost",
            question_count - reader.statuses[200],
            asked_again=reader.retry_count,
            **{str(status): count for status, count in reader.statuses.items()},
        ),
        zero_goal_row(
            f"{len(reader.voted_ids)} votes: lost or doubled",
            lost_count + len(votes) - len(set(votes)),
        ),
        Row("CPU seconds of the worker's processes per author", cpu / len(slugs), "s"),
        Row("wall time until every author is imported", seconds, "s"),
    ]


def list_runs(worker: Host) -> list[tuple[str, str]]:
    """Return the author and status of every import."""
    completed = worker.run_script(LIST_RUNS_PROGRAM)
    if completed.returncode != 0:
        raise SystemExit(completed.stderr)
    return json.loads(completed.stdout.splitlines()[-1])


def has_unfinished(runs: Sequence[tuple[str, str]]) -> bool:
    return any(status not in {"SUCCESS", "FAILURE", "CANCELED"} for _, status in runs)


def zero_goal_row(name: str, value: float, **peers: float) -> Row:
    """Return a row whose goal is zero."""
    return Row(name, value, "", 0.0, value == 0, peers)


def write_posts(host: Host, slugs: Sequence[str], numbers: Sequence[int]) -> None:
    """Write the posts with these numbers to each author's prefix in the bucket."""
    bucket = host.shared["TWIN_TABLES_URI"].split("/")[2]
    client = make_s3_client(host.shared["AWS_ENDPOINT"])
    for slug in slugs:
        for number in numbers:
            sentences = [
                f"For step {step} of clock {number}, {slug} used {step + number} drops of oil "
                f"and wrote down why the {['wheel', 'spring', 'pivot', 'lever', 'bell'][step % 5]} "
                f"needed exactly that much on day {7 * number + step}."
                for step in range(1, 12)
            ]
            text = f"---\ntitle: Clock {number} of {slug}\ndate: 2026-01-0{number + 1}\n---\n\n"
            client.put_object(
                Bucket=bucket,
                Key=f"posts/{slug}/clock-{number}.md",
                Body=(text + "\n\n".join(sentences) + "\n").encode(),
            )


def apply_authors(host: Host, slugs: Sequence[str]) -> None:
    """Share the authors' files with `twin authors apply`."""
    folder = host.folder / "authors"
    folder.mkdir()
    bucket = host.shared["TWIN_TABLES_URI"].split("/")[2]
    for slug in slugs:
        lines = (f'name = "{slug}"', f'sources = ["s3://{bucket}/posts/{slug}"]')
        (folder / f"{slug}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    completed = host.run("twin_cli", "authors", "apply", str(folder), "--yes")
    if completed.returncode != 0:
        raise SystemExit(completed.stdout + completed.stderr)


def wait_while_progress(host: Host, count: Callable[[], int], goal: int) -> None:
    """Wait until `count()` reaches `goal`; fail after ten minutes without progress."""
    reached = count()
    while reached < goal:
        target = reached + 1
        host.wait(lambda target=target: count() >= target, timeout_s=600)
        reached = count()


def kill(host: Host, program: str) -> None:
    """Kill a program with the processes that it has started, except Dagster's runs."""
    process = psutil.Process(host.processes.pop(program).pid)
    for member in (*process.children(recursive=True), process):
        member.send_signal(signal.SIGKILL)
    process.wait()


def read_votes(host: Host) -> list[str]:
    """Return the trace id of every vote in the trace store."""
    with LangfuseClient.from_settings(host.settings) as client:
        return [score["subject"]["id"] for score in client.scores(name=["thumbs"])]


def cpu_seconds(host: Host) -> float:
    """Return the CPU seconds of a host's programs and of their ended child processes (runs)."""
    times = [psutil.Process(process.pid).cpu_times() for process in host.processes.values()]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


if __name__ == "__main__":
    sys.exit(main())
