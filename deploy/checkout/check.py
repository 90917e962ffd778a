"""`twin check`: lint, floors, types, shell syntax and the tests that need no GPU or account.

Belongs here: which stage runs when, its clock, and the sum at the end. What reads the code runs
beside the first tests.
Does not belong here: the tests, and for which reasons one may be skipped (`tests/reporting.py`).

    twin check [--fast | --no-live | --long] [-n WORKERS] [--shard I/N] [PYTEST ARGUMENTS]
    --fast      lint, types, unit tests, and graph tests of what the working tree has changed
    --no-live   all unit and graph tests; no live tests
    --long      the long forms as well (tests marked `long`)
    -n WORKERS  tests beside one another, default 3 where there is memory for it, else 2: a worker
                of live tests takes up to 4 GB
    --shard I/N the I-th of N shares, each for a machine of its own; the first reads the code too
Paths among the pytest arguments choose the tests; other arguments go to every pytest run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

PROJECT = Path(__file__).resolve().parents[2]
PYTEST_NOTHING_COLLECTED = 5
FEWEST_WORKERS = 2
WORKERS = 3  # on two cores: with two a third of the cores' time in live tests, a fifth in others
WORKER_BYTES = 4 << 30  # of live tests


@dataclass(frozen=True)
class Stage:
    """One command with its name."""

    name: str
    command: tuple[str, ...]


@dataclass
class CheckOutcome:
    """What the stages gave so far."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])
    broken: list[str] = field(default_factory=list[str])
    clocks: list[tuple[str, float, str]] = field(default_factory=list[tuple[str, float, str]])

    def add(self, name: str, seconds: float, *, ok: bool) -> None:
        self.clocks.append((name, seconds, "ok" if ok else "FAILED"))
        if not ok:
            self.broken.append(name)


def static_stages(project: Path) -> list[Stage]:
    """Everything that reads the code without running it."""
    bin_dir = Path(sys.executable).parent
    scripts = sorted(str(path) for path in (project / "deploy").glob("*.sh"))
    return [
        Stage("ruff check", (str(bin_dir / "ruff"), "check", ".")),
        Stage("ruff format", (str(bin_dir / "ruff"), "format", "--check", ".")),
        Stage("floors", (str(bin_dir / "lint-imports"),)),
        Stage("types", (str(bin_dir / "basedpyright"),)),
        Stage("shell", ("bash", "-n", *scripts, str(project / ".ci" / "run"))),
    ]


Length = Literal["fast", "no-live", "short", "long"]


def pytest_stages(
    arguments: Sequence[str],
    length: Length,
    *,
    changed: Iterable[str] = (),
    workers: int | None = None,
    fitting: int = FEWEST_WORKERS,
    shard: tuple[int, int] = (1, 1),
) -> list[Stage]:
    """The pytest runs: unit and graph tests, live tests, and those of a GPU, which skip where there
    is none.

    Args:
        arguments: for pytest; paths among them choose the tests.
        changed: graph tests that go with the unit tests when it has to be fast.
        workers: None: `fitting`; tests that are named by a path then run in one process.
        fitting: as many as the memory carries (`workers_for`).
        shard: which share of how many.

    A worker takes whole files, the graph tests' first: a file that takes ten seconds at the end
    would leave the other worker with nothing to do. Of the live tests it takes what
    `tests/live/conftest.py` says belongs together.
    """
    slowest = ("--durations=10", "--durations-min=10")  # where a check that has grown has grown
    base = [sys.executable, "-m", "pytest", "-p", "tests.reporting", "-q", *slowest]
    if shard != (1, 1):
        base += ["-p", "tests.sharding", "--shard", f"{shard[0]}/{shard[1]}"]
    paths = [item for item in arguments if not item.startswith("-") and _is_test_path(item)]
    rest = [item for item in arguments if item not in paths]
    short = () if length == "long" else ("-m", "not long")
    files = _beside(workers or fitting)
    if paths:
        beside = files if workers else ()
        return [Stage("tests", (*base, *short, *beside, *rest, *paths))]
    first = (*base, *short, *files, *rest)
    if length == "fast":
        return [Stage("unit and changed graph", (*first, *changed, "tests/unit"))]
    stages = [Stage("unit and graph", (*first, "tests/graph", "tests/unit"))]
    if length == "no-live":
        return stages
    return [
        *stages,
        Stage("live", (*base, *short, *files, *rest, "tests/live")),
        Stage("gpu", (*base, *short, *rest, "tests/gpu")),  # beside nothing on the card
    ]


def changed_graph_tests(project: Path) -> list[str]:
    """The asset graph's own test, and the folders of graph tests that what was changed since the
    last commit goes by: `twin_assets/corpus/…` by `tests/graph/corpus`. Without git: the first."""
    command = ("git", "-C", str(project), "status", "--porcelain", "-z", "--untracked-files=all")
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    names = {part for path in completed.stdout.split("\0") for part in Path(path).parts}
    folders = sorted((project / "tests" / "graph").glob("*/"))
    return [
        "tests/graph/test_asset_graph.py",
        *(f"tests/graph/{path.name}" for path in folders if path.name in names),
    ]


def workers_for(available: int) -> int:
    """How many workers so many bytes of memory carry, with one's worth to spare."""
    return WORKERS if available >= (WORKERS + 1) * WORKER_BYTES else FEWEST_WORKERS


def _beside(workers: int) -> tuple[str, ...]:
    return ("-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder")


def _is_test_path(item: str) -> bool:
    return (PROJECT / item.split("::", maxsplit=1)[0]).exists()


class StaticRun:
    """Static stages that run side by side, and beside the tests, on the cores that are free."""

    def __init__(self, stages: Sequence[Stage], *, cwd: Path) -> None:
        pool = ThreadPoolExecutor(max_workers=max(1, len(stages)))
        self._running = [(stage, pool.submit(_ran, stage, cwd)) for stage in stages]
        pool.shutdown(wait=False)

    def finish(self, outcome: CheckOutcome) -> None:
        """Wait for all of them, once; what a failed one printed is shown whole."""
        while self._running:
            stage, future = self._running.pop(0)
            code, seconds, printed = future.result()
            outcome.add(stage.name, seconds, ok=code == 0)
            _say(f"{stage.name}: {'ok' if code == 0 else 'FAILED'}")
            if code:
                outcome.failed += 1
                sys.stdout.write(printed)


def _ran(stage: Stage, cwd: Path) -> tuple[int, float, str]:
    """Exit code, seconds and output of a stage."""
    started = time.monotonic()
    done = subprocess.run(
        stage.command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, time.monotonic() - started, done.stdout


def test_environment(report: Path) -> dict[str, str]:
    """What a test run finds in its environment; it adds its counts to `report`."""
    # One thread a worker: two workers with two threads each are slower than one.
    environment = os.environ | {"TWIN_TEST_REPORT": str(report), "OMP_NUM_THREADS": "1"}
    # A thread that waits must not spin: three workers share two cores.
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    # Hundreds of processes start here; without bytecode each compiles what it imports anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def run_pytest(stage: Stage, outcome: CheckOutcome, *, cwd: Path) -> bool:
    """One pytest run, its output passed on. Gives whether it ran any test."""
    _say(stage.name)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        environment = test_environment(report)
        ran = subprocess.run(stage.command, cwd=cwd, env=environment, check=False)
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    counts = [json.loads(line) for line in lines]
    empty = ran.returncode == PYTEST_NOTHING_COLLECTED
    failed = sum(count["failed"] for count in counts)
    ok = empty or ran.returncode == 0
    outcome.passed += sum(count["passed"] for count in counts)
    outcome.skipped += sum(count["skipped"] for count in counts)
    outcome.failed += failed if ok or failed else 1  # a run that broke off is a failure of its own
    for count in counts:
        outcome.reasons.update(count["reasons"])
    outcome.add(stage.name, time.monotonic() - started, ok=ok)
    return not empty


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages; 0 when every one passed and at least one test ran.

    Args:
        argv: what follows `twin check`.
    """
    parser = argparse.ArgumentParser(prog="twin check", allow_abbrev=False)
    lengths = parser.add_mutually_exclusive_group()
    for name in ("fast", "no-live", "long"):
        lengths.add_argument(f"--{name}", dest="length", action="store_const", const=name)
    parser.set_defaults(length="short")
    workers = "tests beside one another, default 3, or 2; one of live tests may take 4 GB"
    parser.add_argument("-n", dest="workers", type=_positive, metavar="WORKERS", help=workers)
    share = "the I-th of N shares, each for a machine of its own"
    parser.add_argument("--shard", type=share_of, default=(1, 1), metavar="I/N", help=share)
    options, arguments = parser.parse_known_args(argv)
    import psutil  # here: `check.sh --help` is answered before anything is installed

    started, outcome = time.monotonic(), CheckOutcome()
    # of several shares one reads the code
    reads = options.shard[0] == 1
    static = StaticRun(static_stages(PROJECT) if reads else [], cwd=PROJECT)
    ran_tests: list[bool] = []
    changed = changed_graph_tests(PROJECT) if options.length == "fast" else []
    stages = pytest_stages(
        arguments,
        options.length,
        changed=changed,
        workers=options.workers,
        fitting=workers_for(psutil.virtual_memory().available),
        shard=options.shard,
    )
    for stage in stages:
        if ran_tests:  # live tests want both cores
            static.finish(outcome)
        ran_tests.append(run_pytest(stage, outcome, cwd=PROJECT))
    static.finish(outcome)
    if not any(ran_tests):
        outcome.failed += 1
        outcome.broken.append("no test was chosen")
    _say(f"all stages: {_clock(time.monotonic() - started)}")
    for name, seconds, verdict in outcome.clocks:
        sys.stdout.write(f"  {_clock(seconds)}  {name}: {verdict}\n")
    for reason, number in sorted(outcome.reasons.items()):
        sys.stdout.write(f"  skipped {number} × {reason}\n")
    for name in outcome.broken:
        sys.stdout.write(f"  FAILED: {name}\n")
    sys.stdout.write(
        f"{outcome.passed} passed, {outcome.failed} failed, {outcome.skipped} skipped\n"
    )
    return 1 if outcome.failed or outcome.broken else 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of workers: 2, say")
    return int(text)


def share_of(text: str) -> tuple[int, int]:
    """`2/3` as (2, 3).

    Raises:
        ArgumentTypeError: it is not two numbers with 1 ≤ I ≤ N.
    """
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text} is no share: 2/3 is the second of three")
    return int(number), int(of)


def _say(text: str) -> None:
    sys.stdout.write(f"check  {text}\n")
    sys.stdout.flush()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    raise SystemExit(main())
