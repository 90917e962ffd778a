"""The first run of a new user: `twin up` on a folder, stage by stage, with disk and peak memory.

    python tests/bench/bench_first_run.py --full [--posts FOLDER --author NAME] [--json FILE]
    python tests/bench/bench_first_run.py --quick          # the sample author, to the first answers

The clock starts after installation, in a fresh home; weights are fetched as for a new user, unless
`--weights FOLDER` names prepared ones (said in the table). There is no peer: no other system of
this kind goes from a folder to a tuned model in one command.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.rows import Row, save
from twin_resources.registry.registry import Registry
from twin_resources.settings import load_settings
from twin_resources.slugs import slug_of
from twin_resources.state.state import State

ROOT = Path(__file__).resolve().parents[2]
STAGE = re.compile(r"^\[(\d)/6\] .*?(\d+:\d+(?::\d+)?)\s*$")
FIRST_ANSWER = re.compile(r"^\s+(\d+:\d+)\s+answered in")
GIGABYTE = 1e9


def row(name: str, value: float, unit: str, *, at_most: float | None = None) -> Row:
    """A row that holds when the value is at most its goal."""
    return Row(name, round(value, 3), unit, at_most, at_most is None or value <= at_most)


def seconds(clock: str) -> float:
    """`1:02:03` or `4:05` as seconds."""
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return total


class PeakMemory(threading.Thread):
    """Samples the memory of every process whose environment names the home (unique set size)."""

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self.home = str(home)
        self.peak = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(2.0):
            self.peak = max(self.peak, sum(self._each()))

    def _each(self) -> list[int]:
        sizes: list[int] = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TWIN_HOME") == self.home:
                    sizes.append(process.memory_full_info().uss)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue  # it ended between the list and the look
        return sizes


def measure(options: argparse.Namespace, home: Path) -> list[Row]:
    """Run `twin up` once and read the figures from what it prints and leaves behind."""
    command = [str(Path(sys.executable).with_name("twin")), "up", "--home", str(home)]
    if options.posts:
        command += [str(options.posts), "--author", options.author]
    if options.quick:
        command.append("--no-train")
    if options.weights:
        (home / "weights").symlink_to(options.weights)
    memory = PeakMemory(home)
    memory.start()
    first_answer = 0.0
    stages: dict[int, float] = {}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stderr.write(line)
            if found := STAGE.match(line.rstrip()):
                stages[int(found[1])] = seconds(found[2])
            if not first_answer and (found := FIRST_ANSWER.match(line)):
                first_answer = seconds(found[1])
            if "Ctrl-C stops everything" in line:
                process.send_signal(signal.SIGINT)
    memory.done.set()
    memory.join()
    rows = [
        row("preview shown", stages.get(3, 0.0), "s", at_most=20),
        row("first grounded answer", first_answer or float("inf"), "s", at_most=180),
    ]
    if not options.quick:
        rows += [
            row("tuned answers and verdict", stages.get(6, float("inf")), "s", at_most=1200),
            *verdict_rows(home, options),
        ]
    disk = sum(file.lstat().st_size for file in home.rglob("*") if not file.is_symlink())
    rows += [
        row("disk of the home", disk / GIGABYTE, "GB", at_most=6),
        row("peak memory, all processes", memory.peak / GIGABYTE, "GB", at_most=10),
    ]
    return rows


def verdict_rows(home: Path, options: argparse.Namespace) -> list[Row]:
    """Perplexity of the candidate against the base, from the registry's verdict."""
    settings = load_settings(home)
    slug = slug_of(options.author)
    registry = Registry(State.open(settings.state_address), policy_path=settings.policy_path)
    verdict = registry.latest_verdict(slug)
    if verdict is None:
        return [Row("verdict", 0, "none", 1, holds=False)]
    claim = next(claim for claim in verdict.claims if claim.name == "beats_base_model")
    sys.stderr.write(f"{verdict.outcome}: {claim.detail}\n")
    return [row("perplexity, tuned / base", float(claim.value or 9.0), "ratio", at_most=0.85)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--quick", action="store_true")
    form.add_argument("--full", action="store_true")
    parser.add_argument("--posts", type=Path)
    parser.add_argument("--author", default="Mara Lindqvist")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        try:
            rows = measure(options, home)
        finally:
            twin = str(Path(sys.executable).with_name("twin"))
            subprocess.run([twin, "stop", "--home", str(home)], check=False, timeout=120)
    print(f"{'what':34} {'value':>9} {'unit':6} {'goal':>8}  holds")
    for item in rows:
        goal = "" if item.goal is None else f"≤ {item.goal:g}"
        print(f"{item.name:34} {item.value:9.3f} {item.unit:6} {goal:>8}  {item.holds}")
    if options.json:
        save(rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
