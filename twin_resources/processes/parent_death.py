"""End a process with its parent, even if the parent is killed and can end nothing itself.

A killed gateway once left a worker that kept the port: its successor exited 75 times. Linux sends
`PR_SET_PDEATHSIG` (https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html) when the
*thread* that made a child ends, so only a program with one thread may use it for its children; it
outlives `exec`. A child of a program with threads watches its parent's pidfd instead. Where neither
exists (macOS), a child asks each second who its parent is, and the children of a killed supervisor
are ended by the next `twin up`.

`python -m twin_resources.processes.parent_death PID MODULE ARGUMENTS` runs a module in this way.
"""
# pyright: strict

from __future__ import annotations

import ctypes
import os
import runpy
import select
import signal
import sys
import threading
import time
from contextlib import suppress

from twin_resources.processes.process_identity import INSTANCE_VARIABLE

PARENT_VARIABLE = "TWIN_PARENT_PID"  # with which a server tells its workers who their parent is
_PR_SET_PDEATHSIG = 1
_INIT_PID = 1


def end_with_parent(parent: int = 0) -> None:
    """Kill this process when its parent ends; may be called from any thread.

    Args:
        parent: the parent's pid, if the caller knows it. Without it, a parent that ended before
            this call is recognized in a stack alone, where no program is the first process; in a
            container, the parent may be.

    Raises:
        SystemExit: the parent has ended already.
    """
    is_known = bool(parent)
    parent = parent or os.getppid()
    if parent <= _INIT_PID and not is_known:
        if os.environ.get(INSTANCE_VARIABLE):
            raise SystemExit("the parent process has ended")
        return
    pidfd = None
    if sys.platform == "linux":
        with suppress(OSError):  # it has ended, or the kernel has no pidfds
            pidfd = os.pidfd_open(parent)
    if os.getppid() != parent:
        raise SystemExit(f"the parent process {parent} has ended")
    threading.Thread(
        target=_kill_after_parent, args=(parent, pidfd), name="parent watch", daemon=True
    ).start()


def _kill_after_parent(parent: int, pidfd: int | None) -> None:
    if pidfd is not None:
        select.select([pidfd], [], [])  # readable when the process ends
    while os.getppid() == parent:
        time.sleep(1.0 if pidfd is None else 0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_with_parent(parent: int, signal_number: int = signal.SIGKILL) -> None:
    """Ask the kernel to kill this process when `parent` ends; no thread is needed for it.

    Args:
        parent: pid of the process that started this one, in a thread that lives as long as this
            process shall.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:  # it ended before the request
        os._exit(1)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
