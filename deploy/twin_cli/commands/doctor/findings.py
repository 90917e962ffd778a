"""Define one finding of `twin doctor`: the check, its verdict, what was found and the remedy.

Scope: the finding's type, and turning a check's error into a finding.
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
class DoctorFinding:
    """One finding of a check.

    Attributes:
        verdict: `warn` if something works, or will work, but needs attention; `fail` if something
            that was requested does not work.
        remedy: the next step, or empty if the verdict is `ok`.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> DoctorFinding:
    """Return the finding of a passed check."""
    return DoctorFinding(name, "ok", found)


def warn(name: str, found: str, remedy: str) -> DoctorFinding:
    """Return the finding of a check that needs attention."""
    return DoctorFinding(name, "warn", found, remedy)


def fail(name: str, found: str, remedy: str) -> DoctorFinding:
    """Return the finding of a failed check."""
    return DoctorFinding(name, "fail", found, remedy)


def run_check(name: str, check: Callable[[], Iterable[DoctorFinding]]) -> list[DoctorFinding]:
    """Return the findings of one check; an error becomes a finding, so that other checks still run.

    Args:
        name: the name of the finding if the check raises an error.
    """
    try:
        return list(check())
    except TwinError as error:
        return [fail(name, error.found, error.next_step)]
    except Exception as error:  # noqa: BLE001 - the user also needs the other findings
        message = f"the check itself failed: {type(error).__name__}: {error}"
        return [fail(name, message, "report this with the output of `twin --version`")]
