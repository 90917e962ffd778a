"""One line of `twin doctor`: what was looked at, how it is, what was found, what mends it.

Scope: the value and the words of a check that met an error. Out of scope: looking.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from twin_resources.errors import TwinError

Verdict = Literal["ok", "warn", "fail"]
TIMEOUT_S = 10.0  # of one question to a service: it may compute for others beside a training


@dataclass(frozen=True)
class Diagnostic:
    """One thing that was looked at.

    Attributes:
        verdict: `warn`: it works, or will, and a person should know; `fail`: something that was
            asked for does not work.
        remedy: what to do about it; empty when it is `ok`.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Diagnostic:
    return Diagnostic(name, "ok", found)


def warn(name: str, found: str, remedy: str) -> Diagnostic:
    return Diagnostic(name, "warn", found, remedy)


def fail(name: str, found: str, remedy: str) -> Diagnostic:
    return Diagnostic(name, "fail", found, remedy)


def looked(name: str, look: Callable[[], Iterable[Diagnostic]]) -> list[Diagnostic]:
    """The findings of one look, an error among them: the others are looked at all the same.

    Args:
        name: of the finding that an error becomes.
    """
    try:
        return list(look())
    except TwinError as error:
        return [fail(name, error.found, error.next_step)]
    except Exception as error:  # noqa: BLE001 - whoever calls a doctor wants to hear the rest too
        message = f"could not be looked at: {type(error).__name__}: {error}"
        return [fail(name, message, "report this with the output of `twin --version`")]
