"""`twin check`: lint, floors, types, shell syntax and the tests that need no GPU or account.

Scope: which stage runs when, its clock, and the sum at the end. What reads the code runs
beside the first tests.
Out of scope: the tests, and for which reasons one may be skipped (`tests/reporting.py`).

    twin check [--fast | --no-live | --long] [-n WORKERS] [PYTEST ARGUMENTS]
    --fast      lint, types, unit tests, and graph tests of what the working tree has changed
    --no-live   all unit and graph tests; no live tests
    --long      the long forms as well (tests marked `long`)
    -n WORKERS  tests beside one another, default 3 where there is memory for it, else 2: a worker
                of live tests takes up to 4 GB
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
from typing import Literal, NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
PYTEST_NOTHING_COLLECTED = 5
MIN_WORKERS = 2
WORKERS = 3  # on two cores: with two a third of the cores' time in live tests, a fifth in others
WORKER_BYTES = 4 << 30  # of live tests

Length = Literal["fast", "no-live", "short", "long"]


class Stage(NamedTuple):
    """One command with its name."""

    name: str
    command: tuple[str, ...]


@dataclass
class CheckOutcome:
    """What the stages gave so far.

    Attributes:
        clocks: a line each stage; broken: names of those that failed.
    """

    counts: Counter[str] = field(default_factory=Counter[str])
    reasons: Counter[str] = field(default_factory=Counter[str])
    broken: list[str] = field(default_factory=list[str])
    clocks: list[str] = field(default_factory=list[str])

    def add(self, name: str, started: float, *, ok: bool) -> None:
        verdict = "ok" if ok else "FAILED"
        self.clocks.append(f"{_clock(time.monotonic() - started)}  {name}: {verdict}")
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


def pytest_stages(
    arguments: Sequence[str],
    length: Length,
    *,
    changed: Iterable[str] = (),
    workers: int | None = None,
    fitting: int = MIN_WORKERS,
) -> list[Stage]:
    """The pytest runs: unit and graph tests, live tests, and those of a GPU, which skip where there
    is none.

    Args:
        arguments: for pytest; paths among them choose the tests.
        changed: graph tests that go with the unit tests when it has to be fast.
        workers: None: `fitting`; tests that are named by a path then run in one process.
        fitting: as many as the memory carries (`workers_for`).

    A worker takes whole files, the graph tests' first: a file that takes ten seconds at the end
    would leave the other worker with nothing to do. Of the live tests it takes what
    `tests/live/conftest.py` says belongs together.
    """
    slowest = ("--durations=10", "--durations-min=10")  # where a check that has grown has grown
    base = (sys.executable, "-m", "pytest", "-p", "tests.reporting", "-q", *slowest)
    if length != "long":
        base += ("-m", "not long")
    paths = [item for item in arguments if (PROJECT / item.split("::")[0]).exists()]
    rest = [item for item in arguments if item not in paths]
    beside = ("-n", str(workers or fitting), "--dist", "loadfile", "--no-loadscope-reorder")
    if paths:
        return [Stage("tests", (*base, *(beside if workers else ()), *rest, *paths))]
    if length == "fast":
        return [Stage("unit and changed graph", (*base, *beside, *rest, *changed, "tests/unit"))]
    stages = [
        Stage("unit and graph", (*base, *beside, *rest, "tests/graph", "tests/unit")),
        Stage("live", (*base, *beside, *rest, "tests/live")),
        Stage("gpu", (*base, *rest, "tests/gpu")),  # beside nothing on the card
    ]
    return stages[:1] if length == "no-live" else stages


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
    return WORKERS if available >= (WORKERS + 1) * WORKER_BYTES else MIN_WORKERS


def run_static(stage: Stage, outcome: CheckOutcome) -> bool:
    """One static stage, and whether it passed; what it printed is shown where it did not."""
    started = time.monotonic()
    ran = subprocess.run(stage.command, cwd=PROJECT, capture_output=True, text=True, check=False)
    passed = ran.returncode == 0
    outcome.add(stage.name, started, ok=passed)
    if not passed:
        sys.stdout.write(ran.stdout + ran.stderr)
    _say(f"{stage.name}: {'ok' if passed else 'FAILED'}")
    return passed


def test_environment(report: Path) -> dict[str, str]:
    """What a test run finds in its environment; it adds its counts to `report`."""
    # One thread a worker: two workers with two threads each are slower than one.
    environment = os.environ | {"TWIN_TEST_REPORT": str(report), "OMP_NUM_THREADS": "1"}
    # A thread that waits must not spin: three workers share two cores.
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    # Hundreds of processes start here; without bytecode each compiles what it imports again.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def run_pytest(stage: Stage, outcome: CheckOutcome, *, cwd: Path) -> bool:
    """One pytest run, its output passed on. Gives whether it ran any test."""
    name, command = stage
    _say(name)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        code = subprocess.run(
            command, cwd=cwd, env=test_environment(report), check=False
        ).returncode
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    failed_before = outcome.counts["failed"]
    for line in lines:
        counts = json.loads(line)
        outcome.reasons.update(counts.pop("reasons"))
        outcome.counts.update(counts)
    ok = code in {0, PYTEST_NOTHING_COLLECTED}
    if not ok and outcome.counts["failed"] == failed_before:
        outcome.counts["failed"] += 1  # a run that broke off is a failure of its own
    outcome.add(name, started, ok=ok)
    return code != PYTEST_NOTHING_COLLECTED


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
    options, arguments = parser.parse_known_args(argv)
    import psutil  # here: `check.sh --help` is answered before anything is installed

    started, outcome = time.monotonic(), CheckOutcome()
    stages = pytest_stages(
        arguments,
        options.length,
        changed=changed_graph_tests(PROJECT) if options.length == "fast" else (),
        workers=options.workers,
        fitting=workers_for(psutil.virtual_memory().available),
    )
    with ThreadPoolExecutor() as pool:  # its end is waited for: live tests want both cores
        static = [pool.submit(run_static, stage, outcome) for stage in static_stages(PROJECT)]
        ran_tests = run_pytest(stages[0], outcome, cwd=PROJECT)
    outcome.counts["failed"] += sum(not stage.result() for stage in static)
    for stage in stages[1:]:
        ran_tests |= run_pytest(stage, outcome, cwd=PROJECT)
    if not ran_tests:
        outcome.counts["failed"] += 1
        outcome.broken.append("no test was chosen")
    _say(f"all stages: {_clock(time.monotonic() - started)}")
    reasons = (f"skipped {number} × {why}" for why, number in sorted(outcome.reasons.items()))
    for line in (*outcome.clocks, *reasons, *(f"FAILED: {name}" for name in outcome.broken)):
        sys.stdout.write(f"  {line}\n")
    passed, failed, skipped = (outcome.counts[one] for one in ("passed", "failed", "skipped"))
    sys.stdout.write(f"{passed} passed, {failed} failed, {skipped} skipped\n")
    return 1 if failed or outcome.broken else 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of workers: 2, say")
    return int(text)


def _say(text: str) -> None:
    sys.stdout.write(f"check  {text}\n")
    sys.stdout.flush()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    raise SystemExit(main())
