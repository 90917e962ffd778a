"""Run supervisord so that it survives a full disk and leaves no process of a killed program.

Source: `supervisor.loggers.Handler.handleError`, `supervisor.process.Subprocess.finish`,
`supervisor.options.ServerOptions.setpgrp` (supervisor 4.3)

If supervisord cannot log a line, it reports this on its standard error, which is a file in the log
folder. On a full disk, that write also fails, and supervisord does not catch the error. In the
chaos tests, supervisord ended within seconds and left its programs running.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from supervisor import (  # pyright: ignore[reportMissingTypeStubs]
    loggers,
    options,
    process,
    supervisord,
)

from twin_resources.processes.parent_death import kill_with_parent

_finish = process.Subprocess.finish


def _drop_line(self: loggers.Handler) -> None:
    """Drop the line; logging resumes once there is space."""


def _finish_with_group(self: process.Subprocess, pid: int, sts: int) -> None:
    """Reap a program that ended by itself, and kill the rest of its process group.

    Its children could keep the port that its successor needs. A program that was asked to stop has
    passed the request on to its group and may leave children that are still writing.
    """
    was_asked_to_stop = self.killing
    _finish(self, pid, sts)
    if not was_asked_to_stop:
        with suppress(ProcessLookupError):  # the group had no other member
            os.killpg(pid, signal.SIGKILL)


def main() -> None:
    """Run `python -m supervisor.supervisord` with the same arguments."""
    supervisor_pid = os.getpid()

    def set_group_and_end(self: options.ServerOptions) -> None:  # noqa: ARG001 - a method
        os.setpgrp()
        kill_with_parent(supervisor_pid)

    loggers.Handler.handleError = _drop_line
    process.Subprocess.finish = _finish_with_group
    options.ServerOptions.setpgrp = set_group_and_end
    supervisord.main()


if __name__ == "__main__":
    main()
