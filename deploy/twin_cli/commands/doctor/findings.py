"""Define one finding of `twin doctor`: the check, its verdict, what was found and the remedy.

Scope: the type, and the finding of a check that raised an error.
Out of scope: the checks.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from twin_resources.errors import TwinError

Verdict = Literal["ok", "warn", "fail"]
TIMEOUT_S = 10.0  # per request to a service, because training may slow it down


@dataclass(frozen=True)
class Diagnostic:
    """The result of one check.

    Attributes:
        verdict: `warn` if something works, or will work, but needs attention; `fail` if something
            that was requested does not work.
        remedy: the next step, or empty if the verdict is `ok`.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Diagnostic:
    """Return the result of a passed check."""
    return Diagnostic(name, "ok", found)


def warn(name: str, found: str, remedy: str) -> Diagnostic:
    """Return the result of a check that needs attention."""
    return Diagnostic(name, "warn", found, remedy)


def fail(name: str, found: str, remedy: str) -> Diagnostic:
    """Return the result of a failed check."""
    return Diagnostic(name, "fail", found, remedy)


def run_check(name: str, check: Callable[[], Iterable[Diagnostic]]) -> list[Diagnostic]:
    """Return the findings of one check; an error becomes a finding, so that other checks still run.

    Args:
        name: name of the finding for an error.
    """
    try:
        return list(check())
    except TwinError as error:
        return [fail(name, error.found, error.next_step)]
    except Exception as error:  # noqa: BLE001 - the user also needs the other findings
        message = f"the check itself failed: {type(error).__name__}: {error}"
        return [fail(name, message, "report this with the output of `twin --version`")]
