"""Which process is meant by a pid, which processes are ours, and how they end.

Scope: a pid together with its start time, the search for processes by the marker in their
environment, and an orderly end (SIGTERM, then SIGKILL) that no stranger can be hit by.
Out of scope: what the processes are (`stack.py`) and their supervision (`supervisor.py`).

A pid alone names nothing: after a crash or a reboot it belongs to somebody else. psutil compares
the start time before it sends a signal (https://psutil.readthedocs.io/, `Process.send_signal`).
"""
# pyright: strict

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

INSTANCE_VARIABLE = "TWIN_INSTANCE"

# A clock that is set (NTP at boot, a resumed laptop) moves every start time by the same amount; a
# pid that is given out again within a second of its first owner's start does not exist.
START_TOLERANCE_S = 1.0


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same number.

    Attributes:
        pid: process id.
        started: start time in seconds since the epoch, as `psutil.Process.create_time()` has it.
    """

    pid: int
    started: float


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a running process; None when there is none (a zombie counts as none)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessIdentity(pid, process.create_time())
    except psutil.NoSuchProcess:
        return None


def find(identity: ProcessIdentity) -> psutil.Process | None:
    """The very process that `identity` names, or None when it has ended or the pid is another's."""
    now = identify(identity.pid)
    if now is None or abs(now.started - identity.started) > START_TOLERANCE_S:
        return None
    try:
        return psutil.Process(identity.pid)
    except psutil.NoSuchProcess:
        return None


def marked_processes(instance: str, *, variable: str = INSTANCE_VARIABLE) -> list[psutil.Process]:
    """Every process whose environment carries `<variable>=<instance>`, wherever it was moved to.

    A trainer that made its own session and lost its parent is found all the same. This process and
    its ancestors are left out: a command that runs inside a run of the stack must not end itself.
    """
    if not instance:
        return []
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    processes: list[psutil.Process] = []
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        try:
            if process.environ().get(variable) == instance:
                processes.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, PermissionError, OSError):
            continue  # ended meanwhile, or another user's: not ours in either case
    return processes


def session_processes(leader: ProcessIdentity) -> list[psutil.Process]:
    """Every process in the session that `leader` opened, itself included; empty when it has ended.

    The second way to know one's own: a process that overwrote its environment area (setproctitle
    does) is not found by its marker.
    """
    if find(leader) is None:
        return []
    processes: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader.pid:
                processes.append(process)
        except (ProcessLookupError, PermissionError):
            continue
    return processes


def end_processes(processes: Iterable[psutil.Process], *, grace_s: float = 5.0) -> int:
    """SIGTERM, wait up to `grace_s` seconds, SIGKILL what is left; returns how many were ended.

    Raises:
        PermissionError: one of them belongs to another user.
    """
    pending = list({process.pid: process for process in processes}.values())
    for process in pending:
        _signal(process, kill=False)
    _, alive = psutil.wait_procs(pending, timeout=grace_s)
    for process in alive:
        _signal(process, kill=True)
    psutil.wait_procs(alive, timeout=grace_s)
    return len(pending)


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return  # it ended by itself, or the pid is another's by now
    except psutil.AccessDenied as error:
        raise PermissionError(f"process {process.pid} belongs to another user") from error
