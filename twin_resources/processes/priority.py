"""Lower the priority of work that nobody waits for, below readers and the user's programs."""
# pyright: strict

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from twin_resources.processes.process_identity import INSTANCE_VARIABLE

LOWEST = 19


def lower_own_priority() -> bool:
    """Give all threads of a stack's process the lowest priority; what it starts inherits it.

    The priority cannot be raised again without privileges, so only a run's last step calls this. A
    process outside a stack (a test, a notebook) is left as it is.

    Returns:
        Whether the priority was lowered.
    """
    if INSTANCE_VARIABLE not in os.environ:
        return False
    tasks = Path("/proc/self/task")
    # On Linux, each thread has a priority of its own (man 2 setpriority).
    threads = [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [0]
    for thread in threads:
        with suppress(ProcessLookupError):  # the thread has ended
            os.setpriority(os.PRIO_PROCESS, thread, LOWEST)
    return True


def lower_session_like_own(pid: int) -> None:
    """Give a new session the own process's low priority, which autogroups ignore (man 7 sched)."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness > 0:
        # There may be no autogroup, or the kernel may refuse; the priority then stays unchanged.
        with suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text(str(niceness), encoding="ascii")
