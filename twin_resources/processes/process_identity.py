"""Identify, find and end the processes of a stack.

Scope: identifying a process by pid and start time, finding processes by a variable in their
environment, and ending them (SIGTERM, then SIGKILL) without signaling an unrelated process.
Out of scope: the stack (`stack.py`), its supervision (`supervisor.py`).

A pid alone does not identify a process: after a crash or a reboot, another process may have the
same pid. psutil checks the start time before it sends a signal (https://psutil.readthedocs.io/,
`Process.send_signal`).
"""
# pyright: strict

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

INSTANCE_VARIABLE = "TWIN_INSTANCE"

# A clock change (NTP at boot, a resumed laptop) shifts all start times by the same amount. The
# kernel does not reuse a pid within a second of its first process's start.
START_TOLERANCE_S = 1.0


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, distinguished from later processes with the same pid.

    Attributes:
        pid: process id.
        started: start time in seconds since the epoch, from `psutil.Process.create_time()`.
    """

    pid: int
    started: float


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of a running process, or None if it is not running or is a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessIdentity(pid, process.create_time())
    except psutil.NoSuchProcess:
        return None


def find_process(identity: ProcessIdentity) -> psutil.Process | None:
    """Return the process of `identity`, or None if it has ended, even if its pid was reused."""
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

    The result includes training processes that have their own session and have lost their parent.
    It excludes this process and its ancestors, because a command inside a run of the stack must not
    end itself.
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
        except (psutil.Error, OSError):
            continue  # the process has ended or belongs to another user
    return processes


def find_session_processes(leader: ProcessIdentity) -> list[psutil.Process]:
    """Return the processes in the session of `leader`, including the leader; empty if it has ended.

    This search complements `find_marked_processes`, which misses a process that overwrites its
    environment area, as setproctitle does.
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
    """Send SIGTERM, wait up to `grace_s` seconds, and send SIGKILL to the remaining processes.

    Returns:
        The number of processes.

    Raises:
        PermissionError: a process belongs to another user.
    """
    distinct_processes = list({process.pid: process for process in processes}.values())
    for process in distinct_processes:
        _signal(process, psutil.Process.terminate)
    _, survivors = psutil.wait_procs(distinct_processes, timeout=grace_s)
    for process in survivors:
        _signal(process, psutil.Process.kill)
    psutil.wait_procs(survivors, timeout=grace_s)
    return len(distinct_processes)


def _signal(process: psutil.Process, send: Callable[[psutil.Process], None]) -> None:
    try:
        send(process)
    except psutil.NoSuchProcess:
        return  # the process has ended, or its pid was reused
    except psutil.AccessDenied as error:
        raise PermissionError(f"process {process.pid} belongs to another user") from error
