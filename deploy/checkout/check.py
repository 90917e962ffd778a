"""Check the project: lint, types and tests.  bash deploy/check.sh [--long] [PYTEST ARGUMENTS]

Without an argument: lint, layers, types and spelling, the unit and graph tests, and one live stack
that is asked everything. `--long` adds what is marked `long`: several stacks, PostgreSQL, S3, kills
in number, other base models, the browser's other pages, a GPU where there is one. Paths among the
pytest arguments run these tests alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("twin_assets", "twin_resources", "twin_sensors")
NO_TESTS_COLLECTED = 5
# A third worker would import and collect everything once more, and wait for the same two cores.
WORKERS = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")


def list_static_commands() -> dict[str, Sequence[str]]:
    """Map the name of each check that reads the code without running it to its command."""
    programs = Path(sys.executable).parent
    scripts = sorted(str(path) for path in (PROJECT / "deploy").glob("*.sh"))
    return {
        "ruff check": (f"{programs}/ruff", "check", "."),
        "ruff format": (f"{programs}/ruff", "format", "--check", "."),
        "layers": (f"{programs}/lint-imports",),
        "types": (f"{programs}/basedpyright",),
        "spelling": (f"{programs}/codespell", "README.md", "deploy", "tests", *PACKAGES),
        "shell": ("bash", "-n", *scripts, f"{PROJECT}/.ci/run"),
        "figures": (sys.executable, f"{PROJECT}/deploy/checkout/figures.py"),
    }


def list_test_runs(arguments: Sequence[str], *, is_long: bool) -> dict[str, Sequence[str]]:
    """Map the name of each pytest run to its arguments."""
    if any((PROJECT / argument.split("::")[0]).exists() for argument in arguments):
        return {"tests": arguments}
    workers = (*WORKERS, *arguments)
    if not is_long:
        # The live stack waits most of the time, so it is asked beside the other tests.
        return {"tests": (*workers, "tests/live/whole", "tests/graph", "tests/unit")}
    return {
        "unit and graph": (*workers, "tests/graph", "tests/unit"),
        "live": (*workers, "tests/live"),
        "gpu": (*arguments, "tests/gpu"),  # alone on the GPU
    }


def run_static_check(name: str, command: Sequence[str]) -> tuple[str, float, bool]:
    started_at = time.monotonic()
    completed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    has_passed = completed.returncode == 0
    if not has_passed or name == "figures":
        sys.stdout.write(completed.stdout + completed.stderr)
        sys.stdout.flush()
    return name, time.monotonic() - started_at, has_passed


def run_tests(
    name: str, arguments: Sequence[str], *, is_long: bool, counts: Counter[str]
) -> tuple[str, float, bool]:
    """Run pytest and add its outcomes and reasons to skip to `counts`."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.reporting", "-q"]
    command += ["--durations=10", "--durations-min=10", *([] if is_long else ["-m", "not long"])]
    # A thread a worker: two workers with two threads each are slower than one.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.jsonl"
        environment["TWIN_TEST_REPORT"] = str(report)
        code = subprocess.run(
            [*command, *arguments], cwd=PROJECT, env=environment, check=False
        ).returncode
        for line in report.read_text(encoding="utf-8").splitlines() if report.exists() else ():
            outcomes = json.loads(line)
            counts.update({f"skipped: {why}": n for why, n in outcomes.pop("reasons").items()})
            counts.update(outcomes)
    return name, time.monotonic() - started_at, code in {0, NO_TESTS_COLLECTED}


def main(arguments: Sequence[str]) -> int:
    """Run all checks; return 0 if each passed and at least one test ran."""
    if "--help" in arguments:
        sys.stdout.write(__doc__ or "")
        return 0
    is_long = "--long" in arguments
    runs = list_test_runs([item for item in arguments if item != "--long"], is_long=is_long)
    started_at, counts = time.monotonic(), Counter[str]()
    with ThreadPoolExecutor(1) as pool:  # one after the other, beside the tests
        static: list[Future[tuple[str, float, bool]]] = [
            pool.submit(run_static_check, name, command)
            for name, command in list_static_commands().items()
        ]
        results = [
            run_tests(name, run, is_long=is_long, counts=counts) for name, run in runs.items()
        ]
    results = [future.result() for future in static] + results
    for name, seconds, has_passed in results:
        minutes = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
        sys.stdout.write(f"  {minutes}  {name}: {'ok' if has_passed else 'FAILED'}\n")
    sys.stdout.writelines(
        f"  {reason} ({count})\n"
        for reason, count in sorted(counts.items())
        if reason.startswith("skipped: ")
    )
    total = int(time.monotonic() - started_at)
    sys.stdout.write(
        f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"
        f" in {total // 60}:{total % 60:02d}\n"
    )
    if not counts["passed"]:
        sys.stdout.write("FAILED: no test was run\n")
    return 0 if counts["passed"] and all(passed for _, _, passed in results) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
