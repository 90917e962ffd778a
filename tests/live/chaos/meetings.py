"""Which commands meet which, at the same moment, in one home.

Scope: a row for each command that writes, or why it has none; what the second may answer.
Out of scope: running them (`test_chaos.py`). A command without a row fails a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.live.chaos.chaos_home import SLUG

REASON = ("--reason", "two at once")


@dataclass(frozen=True)
class Meeting:
    """Two commands that begin together.

    Attributes:
        first, second: words after `twin`. TRACE, POST, QUESTIONS, OUT, BACKUP and EMPTY stand for
            the id of an answer, a post's file, a file of questions, one of answers, a backup and
            an empty home.
        refused: what one of the two may say instead, a pattern; empty: both succeed.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    refused: str = ""


def _twice(*words: str, refused: str = "") -> Meeting:
    return Meeting(words, words, refused)


# In this order: what comes later needs what came before.
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
        ("pause", SLUG, *REASON), ("pause", SLUG, "--resume"), refused="nothing is paused"
    ),
    "backup": _twice("backup", "BACKUP", refused="a file with that name"),
    "restore": _twice(
        "restore", "BACKUP", "--home", "EMPTY", refused="which another command fills|something in"
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
    "up": "the first test: two of them start the stack",
    "demo-loop": "a home of its own, half an hour: tests/live/whole/test_demo_loop.py",
    "export": "writes into a folder that it makes; tests/live/training/test_exports.py",
    "publish": "the hub orders its commits; tests/live/training/test_publishing.py",
    "check": "runs tests, in no home",
    "serve": "becomes the program itself; tests/live/hosts",
    "authors": "needs a state store of several hosts; tests/live/hosts",
    **dict.fromkeys(
        ("status", "traces", "explain", "versions", "doctor", "routing", "why", "open", "logs"),
        "writes nothing",
    ),
}
