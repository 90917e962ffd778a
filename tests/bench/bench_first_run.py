"""The first run of a new user: what there is when, the longest silence, and what was foretold.

    python tests/bench/bench_first_run.py --full --install [--report] [--json FILE]
    python tests/bench/bench_first_run.py --full [--posts FOLDER --author NAME] [--json FILE]
    python tests/bench/bench_first_run.py --quick          # the sample author, to its quotations

With `--install` the clock starts at `bash deploy/up.sh` in a fresh clone of what is committed here,
else after installation; either way in a fresh home. Weights are fetched as for a new user, unless
`--weights FOLDER` names prepared ones (said in the table). Everything is read off what a person
sees. `--report` waits for the rest of the gate's report as well. There is no peer: no other system
of this kind goes from a folder to a tuned model in one command.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.first_run import PHASES, SILENCE_S, FirstRun
from tests.bench.rows import Row, create_parser, write_json
from twin_resources.registry.registry import Registry
from twin_resources.settings import load_settings
from twin_resources.slugs import make_slug
from twin_resources.storage.state.state import State

ROOT = Path(__file__).resolve().parents[2]
GIGABYTE = 1e9
REPORT_WITHIN_S = 3600.0


def row(name: str, value: float, unit: str, *, at_most: float | None = None) -> Row:
    """A row that holds when the value is at most its goal."""
    return Row(name, round(value, 3), unit, at_most, at_most is None or value <= at_most)


class PeakMemory(threading.Thread):
    """Samples the memory of every process whose environment names the home (unique set size).

    Seldom: reading it walks the pages of gigabytes, on the cores that are measured.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self.home = str(home)
        self.peak = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(5.0):
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


def measure(options: argparse.Namespace, home: Path, root: Path) -> list[Row]:
    """Run the command once and read the figures from what it prints and leaves behind."""
    # the long form: phases and their time left are read off it
    arguments = ["--home", str(home), "--verbose"]
    if options.posts:
        arguments += [str(options.posts.resolve()), "--author", options.author, "--consent"]
    if options.quick:
        arguments.append("--no-train")
    if options.weights:
        (home / "weights").symlink_to(options.weights.resolve())
    command = [str(Path(sys.executable).with_name("twin")), "up", *arguments]
    if options.install:
        command = ["bash", str(root / "deploy" / "up.sh"), *arguments]
    memory = PeakMemory(home)
    memory.start()
    seen = FirstRun()
    began = time.monotonic()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
        cwd=root,
        env={name: value for name, value in os.environ.items() if name != "TWIN_PREFLIGHT_SHOWN"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            at = time.monotonic() - began
            sys.stderr.write(f"{at:7.1f}  {line}")
            seen.take(line, at=at)
            if "press Ctrl-C to stop everything" in line:
                if options.report:
                    seen.reported_at = wait_for_report(home, options) - began
                process.terminate()  # as Ctrl-C; a shell's background jobs are deaf to SIGINT
                break
        process.stdout.read()
    memory.done.set()
    memory.join()
    rows = first_rows(seen, options)
    if not options.quick:
        rows += verdict_rows(home, options)
    disk = sum(file.lstat().st_size for file in home.rglob("*") if not file.is_symlink())
    return [
        *rows,
        row("disk of the home", disk / GIGABYTE, "GB", at_most=6),
        row("peak memory, all processes", memory.peak / GIGABYTE, "GB", at_most=10),
    ]


def first_rows(seen: FirstRun, options: argparse.Namespace) -> list[Row]:
    """When what was there, the longest silence, and forecast and time left against the truth."""
    missing = float("inf")
    after = seen.installed_at or 0.0 if options.install else 0.0
    rows = [row("installed at", after, "s")] if options.install else []
    first, sentence = seen.first_quotation_at, seen.first_sentence_at
    rows += [
        row("first quotation at", first if first is not None else missing, "s"),
        row(
            "an author's sentence after installation",
            sentence - after if sentence is not None else missing,
            "s",
            at_most=45,
        ),
        row(
            "first quotation after installation",
            first - after if first is not None else missing,
            "s",
            at_most=45,
        ),
        row("longest silence", seen.longest_silence_s, "s", at_most=SILENCE_S),
    ]
    if not options.quick:
        ready = seen.released_at
        rows += [
            *(row(f"{name} took", seen.took.get(name, missing), "s") for name in PHASES),
            row(
                "tuned model after installation",
                ready - after if ready is not None else missing,
                "s",
                at_most=900,
            ),
            row("time left, furthest off after a quarter", seen.worst_left(), "ratio", at_most=1.5),
        ]
    rows += [
        row(f"forecast: {name}, off by", ratio, "ratio", at_most=4 / 3)
        for name, ratio in seen.forecast_off(installing=options.install).items()
    ]
    if seen.reported_at is not None:
        rows.append(row("report complete at", seen.reported_at, "s"))
    return rows


def wait_for_report(home: Path, options: argparse.Namespace) -> float:
    """Until the verdict of the whole gate is stored; monotonic seconds of that moment."""
    settings = load_settings(home)
    registry = Registry(State.open(settings.state_address), policy_path=settings.policy_path)
    from twin_assets.evaluation.gate import is_full_gate

    until = time.monotonic() + REPORT_WITHIN_S
    while time.monotonic() < until:
        verdict = registry.latest_verdict(make_slug(options.author))
        if verdict is not None and is_full_gate(verdict.claims):
            sys.stderr.write(f"whole gate: {verdict.outcome}\n")
            return time.monotonic()
        time.sleep(1.0)
    raise SystemExit("no verdict of the whole gate; look into the home's logs")


@contextmanager
def fresh_clone(folder: Path, *, wanted: bool) -> Iterator[Path]:
    """What is committed here, as a new user clones it; this checkout where none is wanted."""
    if not wanted:
        yield ROOT
        return
    clone = folder / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    yield clone


def verdict_rows(home: Path, options: argparse.Namespace) -> list[Row]:
    """Perplexity of the candidate against the base, from the registry's verdict."""
    settings = load_settings(home)
    slug = make_slug(options.author)
    registry = Registry(State.open(settings.state_address), policy_path=settings.policy_path)
    verdict = registry.latest_verdict(slug)
    if verdict is None:
        return [Row("verdict", 0, "none", 1, holds=False)]
    claim = next(claim for claim in verdict.claims if claim.name == "beats_base_model")
    sys.stderr.write(f"{verdict.outcome}: {claim.detail}\n")
    return [row("perplexity, tuned / base", float(claim.value or 9.0), "ratio", at_most=0.85)]


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--install", action="store_true", help="from a fresh clone")
    parser.add_argument("--report", action="store_true", help="wait for the whole report")
    parser.add_argument("--posts", type=Path)
    parser.add_argument("--author", default="Mara Lindqvist")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        with fresh_clone(Path(folder), wanted=options.install) as root:
            try:
                rows = measure(options, home, root)
            finally:
                twin = str(Path(sys.executable).with_name("twin"))
                subprocess.run([twin, "stop", "--home", str(home)], check=False, timeout=120)
    print(f"{'what':40} {'value':>9} {'unit':6} {'goal':>8}  holds")
    for item in rows:
        goal = "" if item.goal is None else f"≤ {item.goal:g}"
        print(f"{item.name:40} {item.value:9.3f} {item.unit:6} {goal:>8}  {item.holds}")
    if options.json:
        write_json(rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
