"""supervisord, run so that a full disk does not end it.

Scope: what becomes of a line that cannot be logged. Out of scope: configuration and
control (`supervisor.py`).
Source: `supervisor.loggers.Handler.handleError` (supervisor 4.3)

supervisord tells of a line that it cannot log on its standard error, which is a file beside the
logs: on a full disk that write fails as well, and nothing catches it. In the chaos tests the stack
was left without its supervisor within seconds, its programs with nobody to end them.
"""

from __future__ import annotations

from supervisor import loggers, supervisord  # pyright: ignore[reportMissingTypeStubs]


def _lose_the_line(self: loggers.Handler) -> None:
    """The next line is tried again, and stands in the log once there is room."""


def main() -> None:
    """As `python -m supervisor.supervisord`, with the same arguments."""
    loggers.Handler.handleError = _lose_the_line
    supervisord.main()


if __name__ == "__main__":
    main()
