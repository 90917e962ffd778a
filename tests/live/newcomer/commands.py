"""List how each command of `twin` is run once on a small stack.

Scope: a row for each command. Out of scope: the stack (`conftest.py`). The app lists the commands;
a command without a row fails `test_commands.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REASON = ("--reason", "the newcomer's test")


@dataclass(frozen=True)
class Call:
    """A call of `twin` and its expected result.

    Attributes:
        arguments: the words after `twin`. TRACE is replaced by an answer's trace id, QUESTIONS by a
            file with a question.
        code: the expected exit code.
        output: text that the output must contain.
    """

    arguments: tuple[str, ...]
    code: int = 0
    output: str = ""


@dataclass(frozen=True)
class OtherTest:
    """The test of a command that is slow, needs another home, or occurs in a document."""

    test: str


# The commands are run in this order. The stack has no trained version, as some of them report.
COMMANDS: Mapping[str, Call | OtherTest] = {
    "up": Call(("up", "--dry-run"), output="since the last import: 0 added"),
    "backup": OtherTest("tests/graph/backup/test_backup.py"),
    "restore": OtherTest("tests/graph/backup/test_backup.py"),
    "status": Call(("status", "--json"), output='"running": true'),
    "ask": Call(("ask", "How do I carry a clock?", "--json"), output='"trace_id"'),
    "batch": Call(("batch", "QUESTIONS", "--out", "answers.jsonl"), output="1 answer in "),
    "mcp": OtherTest("tests/live/gateway/test_gateway_agents.py"),
    "widget": OtherTest("tests/live/gateway/test_gateway_widget.py"),
    "explain": Call(("explain", "TRACE"), output="characters "),
    "feedback": Call(("feedback", "TRACE", "--up"), output="stored"),
    "traces": Call(("traces", "--json"), output="TRACE"),
    "versions": OtherTest("tests/live/newcomer/test_documents.py"),
    "rollback": Call(("rollback", *REASON), code=1, output="no retired version"),
    "lower-floor": Call(("lower-floor", *REASON), output="values so far no longer count"),
    "release": Call(("release", "v2", *REASON), code=1, output="versions of this author: none"),
    "export": Call(("export", "v2", "--format", "gguf"), code=1, output="versions of this author"),
    "logs": Call(("logs", "gateway"), output="mara-lindqvist"),
    "serve": OtherTest("tests/live/hosts/test_two_hosts.py"),
    "keys": OtherTest("tests/live/newcomer/test_documents.py"),
    "pause": OtherTest("tests/live/newcomer/test_documents.py"),
    "routing": OtherTest("tests/live/newcomer/test_documents.py"),
    "why": Call(("why", "--json"), output='"decisions": []'),
    "doctor": Call(("doctor",), output=" passed"),
    "open": Call(("open", "dagster"), output="http://127.0.0.1:"),
    "import": OtherTest("tests/live/whole/test_posts_to_answer.py"),
    "forget": OtherTest("tests/live/whole/test_forgotten_post.py"),
    "questions": Call(("questions", "--json"), output='"author": "mara-lindqvist"'),
    "retrain": OtherTest("tests/live/processes/test_dagster_http.py"),
    "stop": Call(("stop",), output="is stopped"),
}
