"""Run supervisord so that a full disk does not end it.

Scope: the handling of a line that cannot be logged. Out of scope: configuration and
control (`supervisor.py`).
Source: `supervisor.loggers.Handler.handleError` (supervisor 4.3)

supervisord reports a line that it cannot log on its standard error, a file in the logs' folder. On
a full disk that write fails as well, and nothing catches the error. In the chaos tests supervisord
ended within seconds, and nothing was left to end its programs.
"""

from __future__ import annotations

from supervisor import loggers, supervisord  # pyright: ignore[reportMissingTypeStubs]


def _drop_line(self: loggers.Handler) -> None:
    """Drop the line; later lines are logged again once there is space."""


def main() -> None:
    """Run `python -m supervisor.supervisord` with the same arguments."""
    loggers.Handler.handleError = _drop_line
    supervisord.main()


if __name__ == "__main__":
    main()
