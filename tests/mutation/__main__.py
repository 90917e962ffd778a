"""Mutation testing: plant random bugs in the critical modules and check that tests fail.

    python -m tests.mutation --seed 7 [--number 200] [--workers 2] [--map FILE] [--only TEXT]

Scope: drawing mutants, running tests on them, and the summary. Out of scope: the mutants
(`mutants.py`), which test runs which line (`covered_lines.py`), the process that runs tests
(`pytest_process.py`).

It works on copies of the checkout. First the tests of each area run once with coverage; `--map`
names the file that stores the covered lines, so that later only changed test files run again. Then
the tests that cover a mutant's line run against it, quickest first, until one fails.
`known_equivalents.toml` lists equivalent mutants, which no test can detect; they are counted
separately. The exit code is 0 if at least 90 % of the other mutants were killed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.mutation.mutants import AREAS, ROOT, Mutant, all_mutants, list_modules, list_test_files
from tests.mutation.pytest_process import copy_environment, run_tests

MIN_KILLED_SHARE = 0.9
MAX_TEST_S = 600.0  # per mutant; a limit of 60 left out tests that would have failed
FIRST_BATCH_SIZE = 20  # collecting a hundred tests takes longer than running twenty
HANG_FACTOR = 30.0  # a mutant hangs after this many times the tests' usual time plus 2 minutes
CONTROL_COUNT = 20  # the tests of this many mutants, drawn first, also run without the bug
IGNORED_PATHS = shutil.ignore_patterns(".venv", ".git", ".twin", "__pycache__", ".*_cache")
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["tests.mutation.pytest_process", "sqlalchemy", "httpx", "dagster", "polars"]
)
CoveredLines = dict[str, dict[str, Any]]  # by test: its seconds, and its lines by file


def copy_checkout(folder: Path) -> Path:
    """Copy the working tree into a folder, link its environment, and return the copy."""
    checkout = shutil.copytree(ROOT, folder / "main", ignore=IGNORED_PATHS)
    (checkout / ".venv").symlink_to(Path(sys.prefix).resolve())
    for shared in ROOT.parent.glob("shared"):
        (folder / shared.name).symlink_to(shared.resolve())
    return checkout


def run_in_copy(checkout: Path, tests: list[str], *, timeout_s: float) -> int | None:
    """Run pytest in a copy and return its exit code, or None after the timeout."""
    process = FORKS.Process(target=run_tests, args=(str(checkout), tests))
    process.start()
    process.join(timeout_s)
    assert process.pid is not None
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return None
    return process.exitcode


def read_covered_lines(cache: Path, workers: int, areas: Collection[str]) -> CoveredLines:
    """Return the lines that each test of these areas covers, from `cache` for unchanged files."""
    product = [path for area in AREAS for path in list_modules(area)]
    helpers = [
        path
        for path in (ROOT / "tests").rglob("*.py")
        if not path.name.startswith("test_") and path.parent.name != "mutation"
    ]
    shared = b"".join(path.read_bytes() for path in [*product, *sorted(helpers)])
    cached = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}
    hashes = {
        str(path.relative_to(ROOT)): hashlib.sha256(shared + path.read_bytes()).hexdigest()
        for path in sorted({path for area in areas for path in list_test_files(area)})
    }
    stale = [name for name, digest in hashes.items() if cached.get(name, {}).get("hash") != digest]
    files: dict[str, Any] = {name: cached[name] for name in hashes.keys() - set(stale)}
    if stale:
        sys.stdout.write(f"mutation  running {len(stale)} test files with coverage\n")
        sys.stdout.flush()
        files |= {name: {"hash": hashes[name], "tests": {}} for name in stale}
        for row in _measure_covered_lines(stale, workers):
            files[row["test"].partition("::")[0]]["tests"][row["test"]] = row
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps(cached | files), encoding="utf-8")
    return {test: row for file in files.values() for test, row in file["tests"].items()}


def _measure_covered_lines(files: Sequence[str], workers: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        checkout, output = copy_checkout(Path(folder)), Path(folder) / "covered"
        output.mkdir()
        options = ["-p", "tests.mutation.covered_lines", "-n", str(workers), "--dist", "loadfile"]
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", "--tb=line", *options]
        variables = copy_environment(checkout) | {"TWIN_COVERED_LINES": str(output)}
        subprocess.run([*command, *files], cwd=checkout, env=os.environ | variables, check=False)
        return [
            json.loads(line)
            for path in output.glob("*.jsonl")
            for line in path.read_text(encoding="utf-8").splitlines()
        ]


def select_tests(mutant: Mutant, tests: CoveredLines) -> tuple[list[str], float]:
    """Return the tests that cover a mutant's lines, quickest first, and their total seconds.

    Coverage does not record where a module constant or a default is used. For these, the other
    tests of the area follow the tests that cover the file. The total stays within `MAX_TEST_S`.
    """
    lines = range(mutant.line, mutant.last_line + 1)
    area_files = {str(path.relative_to(ROOT)) for path in list_test_files(mutant.area)}
    candidates: list[tuple[bool, float, str]] = []
    for name, row in tests.items():
        covered = row["lines"].get(mutant.path, ())
        if mutant.in_function:
            if any(line in covered for line in lines):
                candidates.append((False, row["seconds"], name))
        elif name.partition("::")[0] in area_files:
            candidates.append((not covered, row["seconds"], name))
    selected: list[str] = []
    total_s = 0.0
    for _, seconds, name in sorted(candidates):
        if selected and total_s + seconds > MAX_TEST_S:
            break
        selected.append(name)
        total_s += seconds
    return selected, total_s


def judge_mutant(mutant: Mutant, tests: CoveredLines, checkout: Path, number: int) -> str:
    """Run a mutant's tests; return `killed`, `hangs` (also killed), `survived` or `untested`.

    Raises:
        RuntimeError: the tests cannot be run, or they also fail without the bug.
    """
    selected, seconds = select_tests(mutant, tests)
    timeout_s = HANG_FACTOR * seconds + 120
    path = checkout / mutant.path
    original = path.read_bytes()
    for batch in (selected[:FIRST_BATCH_SIZE], selected[FIRST_BATCH_SIZE:]):
        if not batch:
            continue
        try:
            path.write_bytes(mutant.mutated_source())
            os.utime(path, (number, number))  # Python compares a .pyc by whole seconds and size
            code = run_in_copy(checkout, batch, timeout_s=timeout_s)
        finally:
            path.write_bytes(original)
            os.utime(path, (0, 0))
        if code is None:
            return "hangs"
        if code > pytest.ExitCode.INTERRUPTED:  # a conftest.py fails to import, or no such test
            code = 1 - bool(run_in_copy(checkout, batch, timeout_s=timeout_s))
            if code == 0:
                raise RuntimeError(f"these tests cannot be run even without the bug: {batch}")
        if code and number <= CONTROL_COUNT and run_in_copy(checkout, batch, timeout_s=3600):
            raise RuntimeError(f"these tests also fail without the bug; repair them: {batch}")
        if code:
            return "killed"
    return "survived" if selected else "untested"


def read_equivalents() -> dict[tuple[str, str, str], str]:
    """Map each known equivalent mutant (file, line before, line after) to the reason."""
    path = Path(__file__).parent / "known_equivalents.toml"
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    return {(entry["path"], entry["line"], entry["becomes"]): entry["why"] for entry in entries}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--map", type=Path, default=ROOT / ".twin" / "covered_lines.json")
    parser.add_argument(
        "--only", default="", help="run only drawn mutants whose path:line begins with this text"
    )
    options = parser.parse_args(argv)
    mutants = random.Random(options.seed).sample(all_mutants(), options.number)
    mutants = [
        mutant for mutant in mutants if f"{mutant.path}:{mutant.line}".startswith(options.only)
    ]
    reasons = read_equivalents()
    tests = read_covered_lines(options.map, options.workers, {mutant.area for mutant in mutants})
    sys.stdout.write(f"mutation  {len(mutants)} mutants, seed {options.seed}, {len(tests)} tests\n")
    verdicts: dict[Mutant, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        copies: Queue[Path] = Queue()
        for number in range(options.workers):
            copies.put(copy_checkout(Path(folder) / str(number)))

        def judge(numbered: tuple[int, Mutant]) -> None:
            number, mutant = numbered
            checkout = copies.get()
            try:
                verdict = judge_mutant(mutant, tests, checkout, number + 1)
            finally:
                copies.put(checkout)
            is_alive = verdict in {"survived", "untested"}
            reason = reasons.get((mutant.path, *mutant.lines())) if is_alive else None
            verdicts[mutant] = verdict if reason is None else "equivalent"
            if is_alive:
                before, after = mutant.lines()
                note = f"\n    equivalent: {reason}" if reason else ""
                heading = f"{number + 1}  {verdict}  {mutant.path}:{mutant.line}"
                sys.stdout.write(f"{heading}\n    {before}\n    {after}{note}\n")
                sys.stdout.flush()

        with ThreadPoolExecutor(options.workers) as pool:
            list(pool.map(judge, enumerate(mutants)))
    return _print_summary(verdicts)


def _print_summary(verdicts: dict[Mutant, str]) -> int:
    """Print the verdicts by area; return the exit code."""
    for area in AREAS:
        counts = Counter(verdict for mutant, verdict in verdicts.items() if mutant.area == area)
        sys.stdout.write(
            f"  {area}: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}\n"
        )
    counts = Counter(verdicts.values())
    kill_count = counts["killed"] + counts["hangs"]
    judged_count = len(verdicts) - counts["equivalent"]
    sys.stdout.write(f"{kill_count} of {judged_count} killed, {counts['equivalent']} equivalent\n")
    return 0 if kill_count >= MIN_KILLED_SHARE * judged_count else 1


if __name__ == "__main__":
    raise SystemExit(main())
