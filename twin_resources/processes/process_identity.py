"""Identify, find and end the processes of a stack.

Scope: a pid together with its start time, the search for processes by the marker in their
environment, and an orderly end (SIGTERM, then SIGKILL) that cannot reach a foreign process.
Out of scope: the stack (`stack.py`) and its supervision (`supervisor.py`).
A pid alone does not identify a process: after a crash or a reboot, a different process may have it.
psutil checks the start time before it sends a signal (https://psutil.readthedocs.io/,
`Process.send_signal`).
"""
# pyright: strict

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

INSTANCE_VARIABLE = "TWIN_INSTANCE"

# Setting the clock (NTP at boot, a resumed laptop) moves every start time by the same amount. The
# kernel does not reuse a pid within a second of its first owner's start.
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
    """Return the identity of a running process, or None (also for a zombie)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessIdentity(pid, process.create_time())
    except psutil.NoSuchProcess:
        return None


def find_process(identity: ProcessIdentity) -> psutil.Process | None:
    """Return the process of `identity`, or None if it has ended (its pid may be reused)."""
    current = identify(identity.pid)
    if current is None or abs(current.started - identity.started) > START_TOLERANCE_S:
        return None
    try:
        return psutil.Process(identity.pid)
    except psutil.NoSuchProcess:
        return None


def find_marked_processes(
    instance: str, *, variable: str = INSTANCE_VARIABLE
) -> list[psutil.Process]:
    """Return every process whose environment contains `<variable>=<instance>`.
    It also finds a trainer that created its own session and lost its parent. This process and its
    ancestors are left out, because a command inside a run of the stack must not end itself.
    """
    if not instance:
        return []
    excluded_pids = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    processes: list[psutil.Process] = []
    for process in psutil.process_iter():
        if process.pid in excluded_pids:
            continue
        try:
            if process.environ().get(variable) == instance:
                processes.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, PermissionError, OSError):
            continue  # it has ended or belongs to another user
    return processes


def find_session_processes(leader: ProcessIdentity) -> list[psutil.Process]:
    """Return the processes in the session of `leader`, itself included; empty if it has ended.
    This search complements the marker, which a process loses when it overwrites its environment
    area, as setproctitle does.
    """
    if find_process(leader) is None:
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
    """Send SIGTERM, wait up to `grace_s` seconds, SIGKILL the rest; return how many were ended.

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
        return  # it has ended, or its pid was reused
    except psutil.AccessDenied as error:
        raise PermissionError(f"process {process.pid} belongs to another user") from error
