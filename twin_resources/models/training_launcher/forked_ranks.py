"""The ranks of one machine, forked from one process that has imported what they need.

Scope: forking them, waiting for them, ending all when one has failed. Out of scope:
which trainings are started so (`machine.py`), what is imported (the module that the job names as
`ahead`), training. Source of the variables: torch's launcher,
https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables

Imports are most of what a short training costs: 7 CPU s a rank on two cores, and 2 of the launcher
that starts them. A fork copies the thread that calls it and no other, so a lock that another thread
held would stay locked in every rank. Therefore nothing here computes, and where a library has
started a thread all the same, each rank is a new interpreter that imports for itself.
"""
# pyright: strict

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import runpy
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from twin_resources.models.training_launcher.reason import signal_name

ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
MOMENT_S = 1.0  # in which the others may say for themselves why they all stop
GRACE_S = 5.0


class _Ahead(Protocol):
    def import_ahead(self, job: Path) -> None: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the ranks and return their exit code; in each of them, run the job's module.

    Returns:
        0 when all ended well; that of the first that did not, 128 + the signal if one killed it;
        128 + the signal that ended this process.
    """
    parser = argparse.ArgumentParser(description="Fork the ranks of a training.")
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--ahead", default="", help="module whose `import_ahead` is called before")
    parser.add_argument("--module", required=True, help="what each rank runs with --job")
    parser.add_argument("--job", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    if chosen.ahead:
        cast(_Ahead, import_module(chosen.ahead)).import_ahead(chosen.job)
    words = [chosen.module, "--job", str(chosen.job)]
    if others := other_threads():
        _say(f"no fork beside the threads {', '.join(others)}: each rank imports for itself")
    # Blocked, they wait for `_watched` and are not lost between a fork and its first look.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*ENDING, signal.SIGCHLD})
    gc.freeze()  # what was imported is not looked through again, and its pages stay shared
    sys.stdout.flush()
    sys.stderr.flush()
    running: dict[int, int] = {}
    for rank in range(chosen.ranks):
        own = variables_of(rank, chosen.ranks)
        if others:
            running[_spawn(words, own, before)] = rank
            continue
        pid = os.fork()
        if pid == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            _run(words, own)
            return 0
        running[pid] = rank
    return _watched(running)


def variables_of(rank: int, ranks: int) -> dict[str, str]:
    """What torch's launcher tells a rank, where all are on one machine and meet in a file."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "ROLE_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "ROLE_WORLD_SIZE": str(ranks),
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "0",  # DeepSpeed wants one named; nobody listens there
    }


def other_threads() -> list[str]:
    """Names of this process's threads beside the one that asks, as the kernel has them."""
    tasks = Path("/proc/self/task")
    own = os.getpid()  # the main thread has the process's number
    return sorted(
        (task / "comm").read_text(encoding="utf-8").strip()
        for task in tasks.iterdir()
        if int(task.name) != own
    )


def _run(words: Sequence[str], own: Mapping[str, str]) -> None:
    """As `python -m` would; the module's SystemExit is this process's."""
    os.environ.update(own)
    # `ps` and `top` tell the ranks by it: the kernel shows a fork's variables as its parent's
    with contextlib.suppress(OSError):  # a kernel without it: the rank trains all the same
        Path("/proc/self/comm").write_text(f"rank {own['RANK']}", encoding="utf-8")
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def _spawn(words: Sequence[str], own: Mapping[str, str], mask: set[int]) -> int:
    command = [sys.executable, "-m", *words]
    return os.posix_spawn(sys.executable, command, os.environ | own, setsigmask=mask)


def _watched(running: dict[int, int]) -> int:
    """Wait for all ranks (by pid); when one fails or this process is told to end, end them all."""
    code, ended = 0, False
    end_at: float | None = None
    while running:
        wait_s = 60.0 if end_at is None else max(0.0, end_at - time.monotonic())
        told = signal.sigtimedwait({*ENDING, signal.SIGCHLD}, wait_s)
        if told is not None and told.si_signo in ENDING:
            code = code or 128 + told.si_signo
            end_at = time.monotonic()
        for pid, rank in list(running.items()):
            reaped, status = os.waitpid(pid, os.WNOHANG)
            if not reaped:
                continue
            del running[pid]
            exit_code = os.waitstatus_to_exitcode(status)
            if exit_code < 0 and not ended:
                # in the words of torch's launcher, which `reason.py` reads
                _say(f"rank      : {rank}\nerror     : {_received(-exit_code, pid)}")
            if exit_code and not code:
                code = exit_code if exit_code > 0 else 128 - exit_code
                end_at = time.monotonic() + MOMENT_S
        if end_at is not None and time.monotonic() >= end_at:
            for pid in running:
                os.kill(pid, signal.SIGKILL if ended else signal.SIGTERM)
            ended, end_at = True, time.monotonic() + GRACE_S
    return code


def _received(number: int, pid: int) -> str:
    return f"{signal_name(number)} received by PID {pid}"


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
