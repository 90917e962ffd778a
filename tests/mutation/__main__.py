"""Bugs planted by lot in the modules that decide, and whether the tests see them.

    python -m tests.mutation --seed 7 [--number 200] [--workers 2] [--map FILE] [--only TEXT]

Scope: the draw, the runs and the sum. Out of scope: what is planted (`mutants.py`),
and which test runs which line (`touched_lines.py`), and the process that runs tests (`running.py`).
It works on copies of the checkout. First the tests of each area run
once under a trace; `--map` keeps what they touched, and only test files that have changed run
again. Then each mutant is run against the tests that touch its line, quickest first, until one
fails. `known_equivalents.toml` lists mutants that nobody can see; they are counted apart.
Exit code 0 when at least 90 % of the others were killed.
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

from tests.mutation.mutants import AREAS, ROOT, Mutant, all_mutants, modules_of, tests_of
from tests.mutation.running import environment_of, run_tests

GOAL = 0.9
BUDGET_S = 600.0  # of its tests' own time a mutant; 60, measured at a load of 20, left killers out
QUICKEST = 20  # tests that run first: to collect a hundred takes longer than to run these
HANGS = 30.0  # times its tests' own time, and two minutes: then a mutant waits for ever
CONTROLS = 20  # of the mutants that are drawn: that the tests pass without the bug is looked at
SKIPPED = shutil.ignore_patterns(".venv", ".git", ".twin", "__pycache__", ".*_cache")
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.mutation.running", "sqlalchemy", "httpx", "dagster", "polars"])
Touched = dict[str, dict[str, Any]]  # test → seconds, lines by file


def copy_of_checkout(folder: Path) -> Path:
    """The working tree in a folder, with the environment linked."""
    copied = shutil.copytree(ROOT, folder / "main", ignore=SKIPPED)
    (copied / ".venv").symlink_to(Path(sys.prefix).resolve())
    for beside in ROOT.parent.glob("shared"):
        (folder / beside.name).symlink_to(beside.resolve())
    return copied


def exit_code(copied: Path, tests: list[str], *, limit: float) -> int | None:
    """What pytest ends with in a copy; None: it does not end."""
    process = FORKS.Process(target=run_tests, args=(str(copied), tests))
    process.start()
    process.join(limit)
    assert process.pid is not None
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return None
    return process.exitcode


def touched(kept: Path, workers: int, areas: Collection[str]) -> Touched:
    """What each test of these areas touches; of unchanged files it is read from `kept`."""
    product = [path for area in AREAS for path in modules_of(area)]
    helpers = [
        one
        for one in (ROOT / "tests").rglob("*.py")
        if not one.name.startswith("test_") and one.parent.name != "mutation"
    ]
    rest = b"".join(path.read_bytes() for path in [*product, *sorted(helpers)])
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    hashes = {
        str(path.relative_to(ROOT)): hashlib.sha256(rest + path.read_bytes()).hexdigest()
        for path in sorted({path for area in areas for path in tests_of(area)})
    }
    stale = [name for name, one in hashes.items() if before.get(name, {}).get("hash") != one]
    rows: dict[str, Any] = {name: before[name] for name in hashes.keys() - set(stale)}
    if stale:
        sys.stdout.write(f"mutation  a trace of {len(stale)} files of tests\n")
        sys.stdout.flush()
        rows |= {name: {"hash": hashes[name], "tests": {}} for name in stale}
        for row in _traced(stale, workers):
            rows[row["test"].partition("::")[0]]["tests"][row["test"]] = row
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(before | rows), encoding="utf-8")
    return {test: row for one in rows.values() for test, row in one["tests"].items()}


def _traced(files: Sequence[str], workers: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        copied, answers = copy_of_checkout(Path(folder)), Path(folder) / "touched"
        answers.mkdir()
        options = ["-p", "tests.mutation.touched_lines", "-n", str(workers), "--dist", "loadfile"]
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not long", "--tb=line", *options]
        variables = environment_of(copied) | {"TWIN_TOUCHED_LINES": str(answers)}
        subprocess.run([*command, *files], cwd=copied, env=os.environ | variables, check=False)
        return [
            json.loads(line)
            for path in answers.glob("*.jsonl")
            for line in path.read_text(encoding="utf-8").splitlines()
        ]


def tests_for(mutant: Mutant, tests: Touched) -> tuple[list[str], float]:
    """The tests that touch its lines, quickest first, within the budget; and their seconds.

    A constant or a default is read where no trace sees it: behind the tests that touch the file
    come all others of the area, which may have read it at the import.
    """
    lines = range(mutant.line, mutant.last_line + 1)
    own = {str(path.relative_to(ROOT)) for path in tests_of(mutant.area)}
    found: list[tuple[bool, float, str]] = []
    for name, row in tests.items():
        there = row["lines"].get(mutant.path, ())
        if mutant.in_function:
            if any(line in there for line in lines):
                found.append((False, row["seconds"], name))
        elif name.partition("::")[0] in own:
            found.append((not there, row["seconds"], name))
    chosen: list[str] = []
    total = 0.0
    for _, seconds, name in sorted(found):
        if chosen and total + seconds > BUDGET_S:
            break
        chosen.append(name)
        total += seconds
    return chosen, total


def verdict(mutant: Mutant, tests: Touched, copied: Path, number: int) -> str:
    """`killed`, `hangs` (killed as well), `survived` or `untested`.

    Raises:
        RuntimeError: the tests cannot be run, with the bug or without it.
    """
    chosen, seconds = tests_for(mutant, tests)
    path = copied / mutant.path
    right = path.read_bytes()
    for some in (chosen[:QUICKEST], chosen[QUICKEST:]):
        if not some:
            continue
        try:
            path.write_bytes(mutant.source())
            os.utime(path, (number, number))  # compiled files go by whole seconds and size
            code = exit_code(copied, some, limit=HANGS * seconds + 120)
        finally:
            path.write_bytes(right)
            os.utime(path, (0, 0))
        if code is None:
            return "hangs"
        if (
            code > pytest.ExitCode.INTERRUPTED
        ):  # a conftest that cannot be imported, or no such test
            code = 1 - bool(exit_code(copied, some, limit=HANGS * seconds + 120))
            if code == 0:
                raise RuntimeError(f"these tests cannot be run: {some}")
        if code and number <= CONTROLS and exit_code(copied, some, limit=3600):
            raise RuntimeError(f"these tests fail without the bug, too: {some}")
        if code:
            return "killed"
    return "survived" if chosen else "untested"


def equivalents() -> dict[tuple[str, str, str], str]:
    """Mutants that nobody can see, by file and line before and after: why."""
    path = Path(__file__).parent / "known_equivalents.toml"
    listed = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    return {(one["path"], one["line"], one["becomes"]): one["why"] for one in listed}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--map", type=Path, default=ROOT / ".twin" / "touched_lines.json")
    parser.add_argument(
        "--only", default="", help="text that path:line of a drawn mutant begins with"
    )
    options = parser.parse_args(argv)
    drawn = random.Random(options.seed).sample(all_mutants(), options.number)
    drawn = [one for one in drawn if f"{one.path}:{one.line}".startswith(options.only)]
    unseen = equivalents()
    tests = touched(options.map, options.workers, {one.area for one in drawn})
    sys.stdout.write(f"mutation  {len(drawn)} mutants by seed {options.seed}, {len(tests)} tests\n")
    verdicts: dict[Mutant, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        copies: Queue[Path] = Queue()
        for number in range(options.workers):
            copies.put(copy_of_checkout(Path(folder) / str(number)))

        def judged(numbered: tuple[int, Mutant]) -> None:
            number, mutant = numbered
            copied = copies.get()
            try:
                found = verdict(mutant, tests, copied, number + 1)
            finally:
                copies.put(copied)
            is_left = found in {"survived", "untested"}
            why = unseen.get((mutant.path, *mutant.lines())) if is_left else None
            verdicts[mutant] = found if why is None else "equivalent"
            if is_left:
                before, after = mutant.lines()
                note = f"\n    equivalent: {why}" if why else ""
                where = f"{number + 1}  {found}  {mutant.path}:{mutant.line}"
                sys.stdout.write(f"{where}\n    {before}\n    {after}{note}\n")
                sys.stdout.flush()

        with ThreadPoolExecutor(options.workers) as pool:
            list(pool.map(judged, enumerate(drawn)))
    return _summed(verdicts)


def _summed(verdicts: dict[Mutant, str]) -> int:
    for area in AREAS:
        counts = Counter(verdict for mutant, verdict in verdicts.items() if mutant.area == area)
        sys.stdout.write(f"  {area}: {', '.join(f'{n} {name}' for name, n in counts.items())}\n")
    counts = Counter(verdicts.values())
    killed, judged = counts["killed"] + counts["hangs"], len(verdicts) - counts["equivalent"]
    sys.stdout.write(f"{killed} of {judged} killed, {counts['equivalent']} equivalent apart\n")
    return 0 if killed >= GOAL * judged else 1


if __name__ == "__main__":
    raise SystemExit(main())
