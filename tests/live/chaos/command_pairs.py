"""Define pairs of commands that start at the same time in one home.

Scope: a pair for each command that writes, or the reason why it has none; the allowed refusals.
Out of scope: running the commands (`test_chaos.py`). A command without an entry fails a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.live.chaos.chaos_home import SLUG

REASON = ("--reason", "two at once")


@dataclass(frozen=True)
class CommandPair:
    """Two commands that start together.

    Attributes:
        first, second: arguments of `twin`. TRACE, POST, QUESTIONS, OUT, BACKUP and EMPTY are
            replaced by an answer's trace id, a post's file, a file of questions, a file for
            answers, a backup file and an empty home.
        refusal: pattern of an error that one of the two may report; "" if both must succeed.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    refusal: str = ""


def _twice(*arguments: str, refusal: str = "") -> CommandPair:
    return CommandPair(arguments, arguments, refusal)


# Later commands need the results of earlier ones.
COMMAND_PAIRS: Mapping[str, CommandPair | str] = {
    "import": _twice("import"),
    "ask": CommandPair(
        ("ask", "What is a gate for?"),
        ("ask", "What is a gate for?", "--model", f"twin/{SLUG}@paid"),
    ),
    "feedback": CommandPair(("feedback", "TRACE", "--up"), ("feedback", "TRACE", "--down")),
    "keys": _twice(
        *("keys", "add", "two at once", "--author", SLUG, "--json"), refusal="a key with the label"
    ),
    "batch": _twice(
        "batch", "QUESTIONS", "--out", "OUT", refusal="another command is working on it"
    ),
    "pause": CommandPair(
        ("pause", SLUG, *REASON), ("pause", SLUG, "--resume"), refusal="it is not paused"
    ),
    "backup": _twice("backup", "BACKUP", refusal="a file with that name"),
    "restore": _twice(
        "restore", "BACKUP", "--home", "EMPTY", refusal="another command is writing to|is not empty"
    ),
    "doctor": _twice("doctor", "--repair", "--yes"),
    "lower-floor": _twice("lower-floor", *REASON),
    "rollback": _twice("rollback", *REASON, refusal="retired version|may move to"),
    "release": _twice("release", "v3", *REASON, refusal="may move to"),
    "retrain": _twice("retrain", *REASON, refusal="request .* is waiting|one is pending|run .* is"),
    "forget": _twice("forget", "--author", SLUG, "--post", "POST"),
    "open": _twice("open"),
    "stop": _twice("stop"),
    "up": "the first test starts two at once",
    "export": "writes into a new folder; tests/live/training/test_exports.py",
    "serve": "replaces its process with the program; tests/live/hosts",
    "mcp": "a client of the endpoint, as `ask` is",
    "widget": "adds a key, as `keys add` does",
    **dict.fromkeys(
        ("status", "traces", "explain", "questions", "versions", "routing", "why", "logs"),
        "writes nothing",
    ),
}
