"""Measure a new user's first run: times to results, longest silence, accuracy of the time left.

    python tests/bench/bench_first_run.py --full --install [--report] [--json FILE]
    python tests/bench/bench_first_run.py --full [--posts FOLDER --author NAME] [--json FILE]
    python tests/bench/bench_first_run.py --quick          # the sample author, to its quotations

With `--install` the clock starts with `bash deploy/up.sh` in a fresh clone of this checkout's
commit, otherwise after installation; the home is always new. Weights are fetched as for a new user,
unless `--weights FOLDER` names prepared weights. All figures are read from the output that a user
sees. `--report` also waits for the gate's complete report. There is no peer: no other system of
this kind goes from a folder to a tuned model in one command.
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

from tests.bench.first_run import MAX_SILENCE_S, PHASES, FirstRun
from tests.bench.rows import Row, bounded_row, create_parser, print_results
from twin_resources.registry.registry import Registry
from twin_resources.settings import load_settings
from twin_resources.slugs import make_slug
from twin_resources.storage.state.home_state import open_home_state

ROOT = Path(__file__).resolve().parents[2]
GIGABYTE = 1e9
MAX_REPORT_WAIT_S = 3600.0


class PeakMemory(threading.Thread):
    """Samples the memory (unique set size) of every process with this `TWIN_HOME`.

    Samples are 5 s apart, because each walks the pages of gigabytes on the measured cores.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self.home = str(home)
        self.peak = 0  # bytes
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(5.0):
            self.peak = max(self.peak, sum(self._sizes()))

    def _sizes(self) -> list[int]:
        sizes: list[int] = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TWIN_HOME") == self.home:
                    sizes.append(process.memory_full_info().uss)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue  # the process has ended meanwhile
        return sizes


def measure(options: argparse.Namespace, home: Path, root: Path) -> list[Row]:
    """Run the command once, and read the figures from its output and its home."""
    # --verbose prints the phases and their time left
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
    first_run = FirstRun()
    started = time.monotonic()
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
            elapsed_s = time.monotonic() - started
            sys.stderr.write(f"{elapsed_s:7.1f}  {line}")
            first_run.add_line(line, elapsed_s=elapsed_s)
            if "press Ctrl-C to stop everything" in line:
                if options.report:
                    first_run.reported_at = wait_for_report(home, options) - started
                process.terminate()  # like Ctrl-C; background jobs of a shell ignore SIGINT
                break
        process.stdout.read()
    memory.done.set()
    memory.join()
    rows = timing_rows(first_run, options)
    if not options.quick:
        rows += verdict_rows(home, options)
    disk_bytes = sum(file.lstat().st_size for file in home.rglob("*") if not file.is_symlink())
    return [
        *rows,
        bounded_row("disk of the home", disk_bytes / GIGABYTE, "GB", at_most=6),
        bounded_row("peak memory, all processes", memory.peak / GIGABYTE, "GB", at_most=10),
    ]


def timing_rows(first_run: FirstRun, options: argparse.Namespace) -> list[Row]:
    """Return rows for the times to results, and the longest silence."""
    missing = float("inf")
    start_s = first_run.installed_at or 0.0 if options.install else 0.0
    rows = [bounded_row("installed at", start_s, "s")] if options.install else []
    quotation = first_run.first_quotation_at or missing
    sentence = first_run.first_sentence_at or missing
    rows += [
        bounded_row("first quotation at", quotation, "s"),
        bounded_row("an author's sentence after installation", sentence - start_s, "s", at_most=45),
        bounded_row("first quotation after installation", quotation - start_s, "s", at_most=45),
        bounded_row("longest silence", first_run.longest_silence_s, "s", at_most=MAX_SILENCE_S),
    ]
    if not options.quick:
        released = first_run.released_at or missing
        hits, forecast_count = first_run.forecast_hits()
        rows += [
            *(
                bounded_row(f"{name} took", first_run.durations_s.get(name, missing), "s")
                for name in PHASES
            ),
            bounded_row("tuned model after installation", released - start_s, "s", at_most=900),
            bounded_row(
                "forecasts that held", hits / max(1, forecast_count), "share", at_least=0.8
            ),
        ]
    if first_run.reported_at is not None:
        rows.append(bounded_row("report complete at", first_run.reported_at, "s"))
    return rows


def wait_for_report(home: Path, options: argparse.Namespace) -> float:
    """Wait until the verdict of the whole gate is stored; return the monotonic time then."""
    settings = load_settings(home)
    registry = Registry(open_home_state(settings), policy_path=settings.policy_path)
    from twin_assets.evaluation.gate import is_full_gate

    deadline = time.monotonic() + MAX_REPORT_WAIT_S
    while time.monotonic() < deadline:
        verdict = registry.latest_verdict(make_slug(options.author))
        if verdict is not None and is_full_gate(verdict.claims):
            sys.stderr.write(f"whole gate: {verdict.outcome}\n")
            return time.monotonic()
        time.sleep(1.0)
    raise SystemExit(
        f"no verdict of the whole gate within {MAX_REPORT_WAIT_S:.0f} s; see the logs in {home}"
    )


@contextmanager
def checkout(folder: Path, *, is_fresh: bool) -> Iterator[Path]:
    """Yield a fresh clone of this checkout's commit, or this checkout."""
    if not is_fresh:
        yield ROOT
        return
    clone = folder / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    yield clone


def verdict_rows(home: Path, options: argparse.Namespace) -> list[Row]:
    """Return the row for the candidate's perplexity relative to the base, from the verdict."""
    settings = load_settings(home)
    slug = make_slug(options.author)
    registry = Registry(open_home_state(settings), policy_path=settings.policy_path)
    verdict = registry.latest_verdict(slug)
    if verdict is None:
        return [Row("verdict", 0, "none", 1, holds=False)]
    claim = next(claim for claim in verdict.claims if claim.name == "beats_base_model")
    sys.stderr.write(f"{verdict.outcome}: {claim.detail}\n")
    return [
        bounded_row("perplexity, tuned / base", float(claim.value or 9.0), "ratio", at_most=0.85)
    ]


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--install", action="store_true", help="install from a fresh clone")
    parser.add_argument("--report", action="store_true", help="also wait for the complete report")
    parser.add_argument("--posts", type=Path)
    parser.add_argument("--author", default="Mara Lindqvist")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twin-bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        with checkout(Path(folder), is_fresh=options.install) as root:
            try:
                rows = measure(options, home, root)
            finally:
                twin = str(Path(sys.executable).with_name("twin"))
                subprocess.run([twin, "stop", "--home", str(home)], check=False, timeout=120)
    print_results(rows, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
