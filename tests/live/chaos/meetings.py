"""Pairs of commands that start at the same moment in one home.

Scope: a row for each command that writes, or the reason why it has none; the allowed refusals.
Out of scope: running the commands (`test_chaos.py`). A command without a row fails a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.live.chaos.chaos_home import SLUG

REASON = ("--reason", "two at once")


@dataclass(frozen=True)
class Meeting:
    """Two commands that start together.

    Attributes:
        first, second: arguments of `twin`. TRACE, POST, QUESTIONS, OUT, BACKUP and EMPTY are
            replaced by the id of an answer, a post's file, a file of questions, a file for answers,
            a backup file and an empty home.
        refused: pattern of an error that one of the two may report; "" if both must succeed.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    refused: str = ""


def _twice(*words: str, refused: str = "") -> Meeting:
    return Meeting(words, words, refused)


# In this order, because later commands need the results of earlier ones.
MEETINGS: Mapping[str, Meeting | str] = {
    "import": _twice("import"),
    "ask": Meeting(
        ("ask", "What is a gate for?"),
        ("ask", "What is a gate for?", "--model", f"twin/{SLUG}@paid"),
    ),
    "feedback": Meeting(("feedback", "TRACE", "--up"), ("feedback", "TRACE", "--down")),
    "keys": _twice(
        *("keys", "add", "two at once", "--author", SLUG, "--json"), refused="a key with the label"
    ),
    "batch": _twice("batch", "QUESTIONS", "--out", "OUT", refused="another command is working on"),
    "pause": Meeting(
        ("pause", SLUG, *REASON), ("pause", SLUG, "--resume"), refused="it is not paused"
    ),
    "backup": _twice("backup", "BACKUP", refused="a file with that name"),
    "restore": _twice(
        "restore", "BACKUP", "--home", "EMPTY", refused="another command is writing to|is not empty"
    ),
    "repair": _twice("repair", "--yes"),
    "lower-floor": _twice("lower-floor", *REASON),
    "rollback": _twice("rollback", *REASON, refused="retired version|may move to"),
    "release": _twice("release", "v3", *REASON, refused="may move to"),
    "retrain": _twice(
        "retrain", *REASON, refused="request 1 is waiting|one was requested|run .* is"
    ),
    "forget": _twice("forget", "--author", SLUG, "--post", "POST"),
    "chat": _twice("chat"),
    "stop": _twice("stop"),
    "up": "the first test starts two at once",
    "demo-loop": "needs another home and half an hour; tests/live/whole/test_demo_loop.py",
    "export": "writes into a new folder; tests/live/training/test_exports.py",
    "publish": "the hub orders its commits; tests/live/training/test_publishing.py",
    "check": "runs tests, without a home",
    "serve": "replaces its process by the program; tests/live/hosts",
    "authors": "needs a state store that hosts share; tests/live/hosts",
    **dict.fromkeys(
        ("status", "traces", "explain", "versions", "doctor", "routing", "why", "open", "logs"),
        "writes nothing",
    ),
}
