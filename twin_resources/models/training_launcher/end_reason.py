"""Find the log line that states why an attempt ended: a killed rank or an error.

Scope: parsing an attempt's log. Out of scope: writing the log (`rank_processes.py`),
reacting to the reason (`local.py`).
Source: the summaries of the launchers of torch and accelerate,
https://docs.pytorch.org/docs/stable/elastic/errors.html
"""
# pyright: strict

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_RANK = re.compile(r"\brank {2,}: (\d+)\b")  # torch: failed rank; the next lines describe it
_SIGNAL = re.compile(r"\bSignal (\d+) (?:\(SIG\w+\) )?received by PID\b")
# Accelerate's message without torch's launcher.
_DIED_WITH_SIGNAL = re.compile(r"\bdied with <Signals\.SIG\w+: (\d+)>")
# A Python exception, or the line that C++ prints before it aborts the process.
_ERROR = re.compile(r"\w(Error|Exception)\b: |\bwhat\(\): ")
# Signals that end a rank because another rank failed.
CASCADE_SIGNALS = {signal.SIGTERM, signal.SIGABRT}


def signal_name(number: int) -> str:
    """Return a signal name in the format of torch's launcher, such as `Signal 9 (SIGKILL)`."""
    name_suffixes = {member.value: f" ({member.name})" for member in signal.Signals}
    return f"Signal {number}{name_suffixes.get(number, '')}"


def describe_kill(number: int) -> str:
    """Describe how a signal killed a process, with a hint for SIGKILL."""
    hint = "; if nobody sent it, memory ran out" if number == signal.SIGKILL else ""
    return f"killed by {signal_name(number)}{hint}"


def find_end_reason(log: Path, log_start: int) -> str:
    """Return the cause or else the last line in the log from byte `log_start`; never empty."""
    lines = _read_lines(log, log_start)
    nonempty_lines = [line.strip() for line in lines if line.strip()]
    return _select_cause(lines) or (nonempty_lines[-1] if nonempty_lines else "an empty log")


def find_cause(log: Path, log_start: int) -> str:
    """Return the killed rank or the error in the log, or "" if there is none."""
    return _select_cause(_read_lines(log, log_start))


def _read_lines(log: Path, log_start: int) -> list[str]:
    with log.open("rb") as stream:
        stream.seek(log_start)
        return stream.read().decode("utf-8", "replace").splitlines()


def _select_cause(lines: Sequence[str]) -> str:
    """Return a killed rank, or else an error.

    A killed rank has priority, because other ranks only report that they lost it.
    """
    sentence_by_signal = dict(_find_killed_ranks(lines))
    kills = [
        sentence for number, sentence in sentence_by_signal.items() if number not in CASCADE_SIGNALS
    ]
    # torch's launcher only reports that a child failed; accelerate's launcher repeats its command.
    errors = [line.strip() for line in lines if _ERROR.search(line)]
    errors = [line for line in errors if not re.search("ChildFailedError|CalledProcessError", line)]
    candidates = kills or errors or list(sentence_by_signal.values())
    return candidates[-1] if candidates else ""


def _find_killed_ranks(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield each signal that ended a rank, with a sentence."""
    rank = "a rank"
    for line in lines:
        if match := _RANK.search(line):
            rank = f"rank {match[1]}"
        elif match := _SIGNAL.search(line) or _DIED_WITH_SIGNAL.search(line):
            number = int(match[1])
            yield number, f"{rank} was {describe_kill(number)}"
