"""End a process with its parent, even if the parent is killed and can end nothing itself.

A killed gateway once left a worker that kept the port: its successor exited 75 times. Linux sends
`PR_SET_PDEATHSIG` (https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html) when the
*thread* that made a child ends, so only a program with one thread may use it for its children; it
outlives `exec`. A child of a program with threads watches its parent's pidfd instead. Where neither
exists (macOS), a child asks each second who its parent is, and the children of a killed supervisor
are ended by the next `twin up`.

`python -m twin_resources.processes.parent_death MODULE ARGUMENTS` runs a module in this way.
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

_PR_SET_PDEATHSIG = 1
_INIT_PID = 1


def end_with_parent() -> None:
    """Kill this process when its present parent ends; may be called from any thread.

    Raises:
        SystemExit: the parent has ended already.
    """
    parent = os.getppid()
    if parent <= _INIT_PID:
        return  # a container's only program, whose parent is the container
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


def kill_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when `parent` ends; call between `fork` and `exec`.

    Args:
        parent: pid of the process that forked this one; it has a single thread.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the request
        os._exit(1)


if __name__ == "__main__":
    end_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
