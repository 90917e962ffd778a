"""Run supervisord so that it survives a full disk.

Scope: handling a line that cannot be logged. Out of scope: configuration and control
(`supervisor.py`).
Source: `supervisor.loggers.Handler.handleError` (supervisor 4.3)

If supervisord cannot log a line, it reports this on its standard error, which is a file in the log
folder. On a full disk, that write also fails, and supervisord does not catch the error. In the
chaos tests, supervisord ended within seconds and left its programs running.
"""

from __future__ import annotations

from supervisor import loggers, supervisord  # pyright: ignore[reportMissingTypeStubs]


def _drop_line(self: loggers.Handler) -> None:
    """Drop the line; logging resumes once there is space."""


def main() -> None:
    """Run `python -m supervisor.supervisord` with the same arguments."""
    loggers.Handler.handleError = _drop_line
    supervisord.main()


if __name__ == "__main__":
    main()
