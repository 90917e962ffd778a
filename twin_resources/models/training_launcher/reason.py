"""Why an attempt ended, in one line: which rank a signal killed, or the error that says most.

Scope: reading an attempt's log for that. Out of scope: writing it (`machine.py`,
`ray_cluster.py`), what is done about it (`training_job.py`).
Source: the summaries of torch's and accelerate's launchers,
https://docs.pytorch.org/docs/stable/elastic/errors.html
"""
# pyright: strict

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_RANK = re.compile(r"\brank {2,}: (\d+)\b")  # torch: the failed rank that the next lines are about
_SIGNAL = re.compile(r"\bSignal (\d+) (?:\(SIG\w+\) )?received by PID\b")
_ALONE = re.compile(r"\bdied with <Signals\.SIG\w+: (\d+)>")  # accelerate, of a rank without torch
# an error of Python's, and what C++ prints before it aborts
_ERROR = re.compile(r"\w(Error|Exception)\b: |\bwhat\(\): ")
FOLLOWS = {signal.SIGTERM, signal.SIGABRT}  # what a rank may end by because another one failed


def signal_name(number: int) -> str:
    """In the words of torch's launcher: `Signal 9 (SIGKILL)`."""
    known = {each.value: f" ({each.name})" for each in signal.Signals}
    return f"Signal {number}{known.get(number, '')}"


def killed_by(number: int) -> str:
    """How a process ended that a signal killed, with what nobody sends."""
    hint = "; when nobody sent it: out of memory" if number == signal.SIGKILL else ""
    return f"killed by {signal_name(number)}{hint}"


def reason_in(log: Path, log_start: int) -> str:
    """What the log says most about from the byte `log_start` on; never empty."""
    lines = _lines(log, log_start)
    last = [line.strip() for line in lines if line.strip()]
    return _cause(lines) or (last[-1] if last else "an empty log")


def cause_in(log: Path, log_start: int) -> str:
    """The killed rank or the error of which the log tells; empty: it tells of none."""
    return _cause(_lines(log, log_start))


def _lines(log: Path, log_start: int) -> list[str]:
    with log.open("rb") as stream:
        stream.seek(log_start)
        return stream.read().decode("utf-8", "replace").splitlines()


def _cause(lines: Sequence[str]) -> str:
    """A killed rank goes before the errors of the others, which only tell that they lost it."""
    killed = dict(_killed(lines))
    causes = [sentence for number, sentence in killed.items() if number not in FOLLOWS]
    # torch's launcher only says that a child failed, accelerate's repeats its command
    errors = [line.strip() for line in lines if _ERROR.search(line)]
    errors = [line for line in errors if not re.search("ChildFailedError|CalledProcessError", line)]
    causes_found = causes or errors or list(killed.values())
    return causes_found[-1] if causes_found else ""


def _killed(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The signals that ended ranks, each with a sentence."""
    rank = "a rank"
    for line in lines:
        if match := _RANK.search(line):
            rank = f"rank {match[1]}"
        elif match := _SIGNAL.search(line) or _ALONE.search(line):
            number = int(match[1])
            yield number, f"{rank} was {killed_by(number)}"
