"""Fork the ranks of a training run from a process that has already imported their modules.

Scope: forking the ranks, waiting for them, and stopping all of them if one fails.
Out of scope: the decision to fork (`rank_processes.py`), the imports (the job's module `ahead`),
training.
Source of the variables: torch's launcher,
https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables

Imports are the largest cost of a short training run. On two cores, they take 7 CPU seconds for each
rank and 2 for the launcher. A fork copies only the calling thread, so a lock held by another thread
would stay locked in every rank. This process therefore does not compute. If a library has
nevertheless started a thread, each rank runs in a new interpreter with its own imports.
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

from twin_resources.models.training_launcher.end_reason import signal_name
from twin_resources.models.training_launcher.rank_processes import OWNER_VARIABLE
from twin_resources.processes.parent_death import kill_with_parent

TERMINATION_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
ERROR_REPORT_DELAY_S = 1.0  # lets the other ranks report their own errors before they are stopped
GRACE_S = 5.0


def main() -> int:
    """Start the ranks, run the job's module in each, and return the exit code.

    Returns:
        0 if all ranks succeeded. Otherwise, the exit code of the first rank that failed, or 128
        plus the number of the signal that killed that rank or stopped this process.
    """
    parser = argparse.ArgumentParser(description="Fork the ranks of a training run.")
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--ahead", default="", help="module whose `import_ahead` is called first")
    parser.add_argument("--module", required=True, help="module that each rank runs with --job")
    parser.add_argument("--job", type=Path, required=True)
    options = parser.parse_args()
    owner_pid = int(os.environ.get(OWNER_VARIABLE, "0").partition(":")[0])
    if os.getppid() == owner_pid:
        # Its thread waits in `run_ranks`. A rank alone sees only between two steps that it is gone.
        kill_with_parent(owner_pid, signal.SIGTERM)
    if options.ahead:
        import_module(options.ahead).import_ahead(options.job)
    module_arguments = [options.module, "--job", str(options.job)]
    if other_thread_names := list_other_threads():
        _log(
            f"no fork because of the threads {', '.join(other_thread_names)}: each rank does its "
            "own imports"
        )
    # Blocked signals stay pending for `_wait_for_ranks`, so no early signal is lost.
    signal_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*TERMINATION_SIGNALS, signal.SIGCHLD})
    gc.freeze()  # exempt imported objects from garbage collection, so that their pages stay shared
    sys.stdout.flush()
    sys.stderr.flush()
    rank_by_pid: dict[int, int] = {}
    launcher_pid = os.getpid()
    for rank in range(options.ranks):
        rank_environment = rank_variables(rank, options.ranks)
        if other_thread_names:
            rank_by_pid[_spawn_rank(module_arguments, rank_environment, signal_mask)] = rank
            continue
        pid = os.fork()
        if pid == 0:
            kill_with_parent(launcher_pid)
            signal.pthread_sigmask(signal.SIG_SETMASK, signal_mask)
            _run_rank(module_arguments, rank_environment)
            return 0
        rank_by_pid[pid] = rank
    return _wait_for_ranks(rank_by_pid)


def rank_variables(rank: int, rank_count: int) -> dict[str, str]:
    """Return the variables that torch's launcher sets for a rank."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "ROLE_RANK": str(rank),
        "WORLD_SIZE": str(rank_count),
        "LOCAL_WORLD_SIZE": str(rank_count),
        "ROLE_WORLD_SIZE": str(rank_count),
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "0",  # DeepSpeed requires the variable but does not use the port
    }


def list_other_threads() -> list[str]:
    """Return the kernel's names of this process's threads, except the main thread."""
    tasks = Path("/proc/self/task")
    main_thread_id = os.getpid()  # the main thread has the id of the process
    return sorted(
        (task / "comm").read_text(encoding="utf-8").strip()
        for task in tasks.iterdir()
        if int(task.name) != main_thread_id
    )


def _run_rank(module_arguments: Sequence[str], rank_environment: Mapping[str, str]) -> None:
    """Run the module like `python -m` does; its SystemExit ends this process."""
    os.environ.update(rank_environment)
    # Set the name shown in `ps` and `top`, which would otherwise show the parent's name.
    # Some kernels do not support this, and training does not need it.
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(f"rank {rank_environment['RANK']}", encoding="utf-8")
    sys.argv = list(module_arguments)
    runpy.run_module(module_arguments[0], run_name="__main__", alter_sys=True)


def _spawn_rank(
    module_arguments: Sequence[str], rank_environment: Mapping[str, str], mask: set[int]
) -> int:
    command = [sys.executable, "-m", *module_arguments]
    return os.posix_spawn(sys.executable, command, os.environ | rank_environment, setsigmask=mask)


def _wait_for_ranks(running_ranks: dict[int, int]) -> int:
    """Wait for all ranks (by pid); stop all if one fails or this process receives a signal."""
    first_failure_code, is_terminating = 0, False
    terminate_at: float | None = None
    while running_ranks:
        wait_s = 60.0 if terminate_at is None else max(0.0, terminate_at - time.monotonic())
        signal_info = signal.sigtimedwait({*TERMINATION_SIGNALS, signal.SIGCHLD}, wait_s)
        if signal_info is not None and signal_info.si_signo in TERMINATION_SIGNALS:
            first_failure_code = first_failure_code or 128 + signal_info.si_signo
            terminate_at = time.monotonic()
        for pid, rank in list(running_ranks.items()):
            exited_pid, status = os.waitpid(pid, os.WNOHANG)
            if not exited_pid:
                continue
            del running_ranks[pid]
            exit_code = os.waitstatus_to_exitcode(status)
            if exit_code < 0 and not is_terminating:
                # This is the format of torch's launcher, which `end_reason.py` parses.
                error = f"{signal_name(-exit_code)} received by PID {pid}"
                _log(f"rank      : {rank}\nerror     : {error}")
            if exit_code and not first_failure_code:
                first_failure_code = exit_code if exit_code > 0 else 128 - exit_code
                terminate_at = time.monotonic() + ERROR_REPORT_DELAY_S
        if terminate_at is not None and time.monotonic() >= terminate_at:
            for pid in running_ranks:
                os.kill(pid, signal.SIGKILL if is_terminating else signal.SIGTERM)
            is_terminating, terminate_at = True, time.monotonic() + GRACE_S
    return first_failure_code


def _log(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
