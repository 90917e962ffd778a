"""A machine that follows another one's trainings: `python -m … --machine-rank N`, one on each.

Belongs here: waiting for an attempt of machine 0, running this machine's share of it, and ending it
when machine 0 gives it up. Does not belong here: machine 0 (`local.py`), retries (machine 0 makes
a new attempt), checkpoints (the ranks resume from the folder that all machines see).
"""
# pyright: strict

from __future__ import annotations

import argparse
import dataclasses
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.attempt import Attempt, read_attempt
from twin_resources.models.training_launcher.local import attempt_path
from twin_resources.models.training_launcher.machine import MachineShare, started, watch
from twin_resources.settings import Settings, load_settings

POLL_S = 1.0
CONNECT_S = 2.0


def follow(
    settings: Settings,
    rank: int,
    *,
    write_line: Callable[[str], None],
    trainings: int | None = None,
) -> None:
    """Take this machine's share of every attempt that machine 0 announces.

    Args:
        rank: this machine's, from 1.
        trainings: return after so many attempts that ended well; None: never.

    Raises:
        TwinError: a machine rank that machine 0 does not wait for.
    """
    _require_rank(rank, settings.train_machines, said_by="TWIN_TRAIN_MACHINES")
    log = settings.logs_dir / f"training-machine-{rank}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    path = attempt_path(settings)
    taken, complete = "", 0
    while trainings is None or complete < trainings:
        attempt = read_attempt(path)
        # An announcement outlives a machine 0 that lost its power: nobody listens there then.
        if attempt is None or attempt.mark == taken or not _listens(attempt):
            time.sleep(POLL_S)
            continue
        taken = attempt.mark
        _require_rank(rank, attempt.machines, said_by=str(path))
        write_line(f"following {attempt.job.name} as machine {rank} of {attempt.machines}")

        def wanted(mark: str = taken) -> bool:
            now = read_attempt(path)
            return now is not None and now.mark == mark

        share = MachineShare(attempt.machines, rank, attempt.address, attempt.port)
        log_start = log.stat().st_size if log.is_file() else 0
        # what machine 0 is told of silence comes from rank 0, so it alone ends a silent training
        job = dataclasses.replace(attempt.job, silence_s=attempt.job.timeout_s)
        with started(job, share, log, environment={}) as process:
            ended = watch(process, job, log, lambda _: None, log_start=log_start, wanted=wanted)
        well = ended.how in {"exit code 0", "no longer wanted"}
        complete += well
        write_line(f"{attempt.job.name}: {ended.how}" + ("" if well else f"; its log: {log}"))


def _listens(attempt: Attempt) -> bool:
    try:
        with socket.create_connection((attempt.address, attempt.port), timeout=CONNECT_S):
            return True
    except OSError:
        return False


def _require_rank(rank: int, machines: int, *, said_by: str) -> None:
    if not 1 <= rank < machines:
        raise TwinError(
            f"follow as machine {rank}",
            found=f"{machines} machines take part ({said_by}); machine 0 is the launcher's",
            next_step=f"pass --machine-rank 1 to {machines - 1}, and the same TWIN_TRAIN_MACHINES "
            "on every machine",
        )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Follow the trainings of another machine.")
    parser.add_argument("--machine-rank", type=int, required=True)
    parser.add_argument("--home", default=None, help="the home of machine 0; default TWIN_HOME")
    parser.add_argument("--trainings", type=int, default=None, help="end after so many")
    chosen = parser.parse_args(arguments)

    def end(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(0)  # through every `finally`, so that no rank stays

    signal.signal(signal.SIGTERM, end)

    def log(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    settings = load_settings(chosen.home)
    try:
        follow(settings, chosen.machine_rank, write_line=log, trainings=chosen.trainings)
    except TwinError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
