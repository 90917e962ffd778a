"""Run `twin check`: lint, layers, types, spelling, shell syntax and tests, without GPU or account.

Scope: the order of the stages, their durations, and the summary. Static checks run in parallel
with the first tests.
Out of scope: the tests, and the permitted reasons to skip one (`tests/reporting.py`).

    twin check [--fast | --no-live | --long] [-n WORKERS] [PYTEST ARGUMENTS]
    --fast      lint, types, unit tests, and graph tests of changes in the working tree
    --no-live   all unit and graph tests; no live tests
    --long      also the tests marked `long`
    -n WORKERS  number of parallel workers; default 3 if memory allows, else 2. A worker that runs
                live tests takes up to 4 GB.
Paths among the pytest arguments select the tests; other arguments are passed to every pytest run.
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
PACKAGES = ("twin_assets", "twin_resources", "twin_sensors")
PYTEST_NO_TESTS_COLLECTED = 5
MIN_WORKERS = 2
# With two workers, two cores are idle for a third of the time in live tests, and a fifth otherwise.
MAX_WORKERS = 3
MEMORY_PER_WORKER_BYTES = 4 << 30  # for live tests

Length = Literal["fast", "no-live", "short", "long"]


class Stage(NamedTuple):
    """One command of the check and its name."""

    name: str
    command: tuple[str, ...]


@dataclass
class CheckOutcome:
    """The results of the stages so far.

    Attributes:
        failed_stages: names of the failed stages.
        stage_durations: one line per stage.
    """

    counts: Counter[str] = field(default_factory=Counter[str])
    skip_reasons: Counter[str] = field(default_factory=Counter[str])
    failed_stages: list[str] = field(default_factory=list[str])
    stage_durations: list[str] = field(default_factory=list[str])

    def add(self, name: str, started_at: float, *, has_passed: bool) -> None:
        """Record a stage's duration and result."""
        verdict, duration = "ok" if has_passed else "FAILED", time.monotonic() - started_at
        self.stage_durations.append(f"{_format_duration(duration)}  {name}: {verdict}")
        if not has_passed:
            self.failed_stages.append(name)


def build_static_stages(project: Path) -> list[Stage]:
    """Return the stages that read the code without running it."""
    bin_dir = Path(sys.executable).parent
    scripts = sorted(str(path) for path in (project / "deploy").glob("*.sh"))
    return [
        Stage("ruff check", (str(bin_dir / "ruff"), "check", ".")),
        Stage("ruff format", (str(bin_dir / "ruff"), "format", "--check", ".")),
        Stage("layers", (str(bin_dir / "lint-imports"),)),
        Stage("types", (str(bin_dir / "basedpyright"),)),
        Stage("spelling", (str(bin_dir / "codespell"), "README.md", "deploy", "tests", *PACKAGES)),
        Stage("shell", ("bash", "-n", *scripts, str(project / ".ci" / "run"))),
    ]


def build_pytest_stages(
    arguments: Sequence[str],
    length: Length,
    *,
    changed_tests: Iterable[str] = (),
    worker_count: int | None = None,
    default_worker_count: int = MIN_WORKERS,
) -> list[Stage]:
    """Return the pytest runs: unit and graph tests, live tests, and GPU tests.

    Each worker runs whole files, graph tests first, because a file that takes ten seconds at the
    end would leave the other worker idle. In live tests, a worker runs the groups defined by
    `tests/live/conftest.py`.

    Args:
        arguments: pytest's arguments; paths among them select the tests.
        changed_tests: graph tests that run with the unit tests if `length` is "fast".
        worker_count: number of workers, or None for `default_worker_count`. If it is None, tests
            selected by path run in one process.
        default_worker_count: number of workers that the memory allows (`count_workers`).
    """
    base_command = (sys.executable, "-m", "pytest", "-p", "tests.reporting", "-q")
    base_command += ("--durations=10", "--durations-min=10")  # list slow tests
    if length != "long":
        base_command += ("-m", "not long")
    paths = [item for item in arguments if (PROJECT / item.split("::")[0]).exists()]
    other_arguments = [item for item in arguments if item not in paths]
    parallel_options = ("-n", str(worker_count or default_worker_count))
    parallel_options += ("--dist", "loadfile", "--no-loadscope-reorder")
    if paths:
        path_options = parallel_options if worker_count else ()
        return [Stage("tests", (*base_command, *path_options, *other_arguments, *paths))]
    parallel_command = (*base_command, *parallel_options, *other_arguments)
    if length == "fast":
        return [
            Stage("unit and changed graph", (*parallel_command, *changed_tests, "tests/unit")),
        ]
    stages = [
        Stage("unit and graph", (*parallel_command, "tests/graph", "tests/unit")),
        Stage("live", (*parallel_command, "tests/live")),
        Stage("gpu", (*base_command, *other_arguments, "tests/gpu")),  # alone on the GPU
    ]
    return stages[:1] if length == "no-live" else stages


def find_changed_graph_tests(project: Path) -> list[str]:
    """Return the test of the asset graph, and the folders of graph tests for uncommitted changes.

    For example, a change in `twin_assets/corpus/…` selects `tests/graph/corpus`. Without git, only
    the test of the asset graph is returned.
    """
    command = ("git", "-C", str(project), "status", "--porcelain", "-z", "--untracked-files=all")
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    names = {part for path in completed.stdout.split("\0") for part in Path(path).parts}
    folders = sorted((project / "tests" / "graph").glob("*/"))
    return [
        "tests/graph/test_asset_graph.py",
        *(f"tests/graph/{path.name}" for path in folders if path.name in names),
    ]


def count_workers(available_bytes: int) -> int:
    """Return `MAX_WORKERS` if the memory suffices for one more worker, else `MIN_WORKERS`."""
    required_bytes = (MAX_WORKERS + 1) * MEMORY_PER_WORKER_BYTES
    return MAX_WORKERS if available_bytes >= required_bytes else MIN_WORKERS


def run_static_stage(stage: Stage, outcome: CheckOutcome) -> bool:
    """Run one static stage and return whether it passed; print its output only if it failed."""
    started_at = time.monotonic()
    completed = subprocess.run(
        stage.command, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    has_passed = completed.returncode == 0
    outcome.add(stage.name, started_at, has_passed=has_passed)
    if not has_passed:
        sys.stdout.write(completed.stdout + completed.stderr)
    _log(f"{stage.name}: {'ok' if has_passed else 'FAILED'}")
    return has_passed


def pytest_environment(report: Path) -> dict[str, str]:
    """Return the environment of a test run, which appends its counts to `report`."""
    # One thread per worker, because two workers with two threads each are slower than one worker.
    environment = os.environ | {"TWIN_TEST_REPORT": str(report), "OMP_NUM_THREADS": "1"}
    # Waiting threads must not spin, because three workers share two cores.
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    # The tests start hundreds of processes; without bytecode, each compiles its imports again.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def run_pytest_stage(stage: Stage, outcome: CheckOutcome, *, cwd: Path) -> bool:
    """Run one pytest stage, forward its output and return whether it ran any test."""
    name, command = stage
    _log(name)
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        exit_code = subprocess.run(
            command, cwd=cwd, env=pytest_environment(report), check=False
        ).returncode
        lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    earlier_failure_count = outcome.counts["failed"]
    for line in lines:
        counts = json.loads(line)
        outcome.skip_reasons.update(counts.pop("reasons"))
        outcome.counts.update(counts)
    has_passed = exit_code in {0, PYTEST_NO_TESTS_COLLECTED}
    if not has_passed and outcome.counts["failed"] == earlier_failure_count:
        outcome.counts["failed"] += 1  # an aborted run counts as one failure
    outcome.add(name, started_at, has_passed=has_passed)
    return exit_code != PYTEST_NO_TESTS_COLLECTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stages; return 0 if all passed and at least one test ran.

    Args:
        argv: arguments after `twin check`.
    """
    parser = argparse.ArgumentParser(prog="twin check", allow_abbrev=False)
    lengths = parser.add_mutually_exclusive_group()
    for name in ("fast", "no-live", "long"):
        lengths.add_argument(f"--{name}", dest="length", action="store_const", const=name)
    parser.set_defaults(length="short")
    workers_help = "number of parallel workers; default 3 if memory allows, else 2"
    parser.add_argument(
        "-n", dest="workers", type=_positive_integer, metavar="WORKERS", help=workers_help
    )
    options, arguments = parser.parse_known_args(argv)
    import psutil  # imported here so that `check.sh --help` works before the installation

    started_at, outcome = time.monotonic(), CheckOutcome()
    stages = build_pytest_stages(
        arguments,
        options.length,
        changed_tests=find_changed_graph_tests(PROJECT) if options.length == "fast" else (),
        worker_count=options.workers,
        default_worker_count=count_workers(psutil.virtual_memory().available),
    )
    with ThreadPoolExecutor() as pool:  # the block waits, because live tests need both cores
        static_results = [
            pool.submit(run_static_stage, stage, outcome) for stage in build_static_stages(PROJECT)
        ]
        ran_tests = run_pytest_stage(stages[0], outcome, cwd=PROJECT)
    outcome.counts["failed"] += sum(not stage.result() for stage in static_results)
    for stage in stages[1:]:
        ran_tests |= run_pytest_stage(stage, outcome, cwd=PROJECT)
    if not ran_tests:
        outcome.counts["failed"] += 1
        outcome.failed_stages.append("no test was selected")
    _log(f"all stages: {_format_duration(time.monotonic() - started_at)}")
    lines = list(outcome.stage_durations)
    lines += [f"skipped {count} × {why}" for why, count in sorted(outcome.skip_reasons.items())]
    lines += [f"FAILED: {name}" for name in outcome.failed_stages]
    sys.stdout.writelines(f"  {line}\n" for line in lines)
    passed_count, failed_count, skipped_count = (
        outcome.counts[status] for status in ("passed", "failed", "skipped")
    )
    sys.stdout.write(f"{passed_count} passed, {failed_count} failed, {skipped_count} skipped\n")
    return 1 if failed_count or outcome.failed_stages else 0


def _positive_integer(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(
            f"{text} is not a number of workers; pass a positive integer"
        )
    return int(text)


def _log(text: str) -> None:
    sys.stdout.write(f"check  {text}\n")
    sys.stdout.flush()


def _format_duration(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    raise SystemExit(main())
