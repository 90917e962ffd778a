"""How each command of `twin` is run once on a small stack.

Scope: a row for each command. Out of scope: the stack (`conftest.py`). The app lists the commands;
a command without a row fails `test_commands.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REASON = ("--reason", "the newcomer's test")


@dataclass(frozen=True)
class Run:
    """A command line without `twin`.

    Attributes:
        arguments: TRACE is replaced by the id of an answer, QUESTIONS by a file with a question.
        code: the expected exit code.
        says: text that the output must contain.
    """

    arguments: tuple[str, ...]
    code: int = 0
    says: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """The test that runs a command which is slow, needs another home, or is typed in a document."""

    test: str


# In this order. The stack has trained no version, and some commands report that.
COMMANDS: Mapping[str, Run | Elsewhere] = {
    "up": Run(("up", "--dry-run"), says="since the last import: 0 added"),
    "demo-loop": Elsewhere("tests/live/whole/test_demo_loop.py"),
    "backup": Elsewhere("tests/graph/backup/test_backup.py"),
    "restore": Elsewhere("tests/graph/backup/test_backup.py"),
    "repair": Elsewhere("tests/graph/backup/test_repaired_assets.py"),
    "check": Run(("check", "--fast"), code=1, says="run deploy/check.sh there"),
    "status": Run(("status", "--json"), says='"running": true'),
    "ask": Run(("ask", "How do I carry a clock?", "--json"), says='"trace_id"'),
    "batch": Run(("batch", "QUESTIONS", "--out", "answers.parquet"), says="1 answer in "),
    "explain": Run(("explain", "TRACE"), says="characters "),
    "feedback": Run(("feedback", "TRACE", "--up"), says="stored"),
    "traces": Run(("traces", "--json"), says="TRACE"),
    "versions": Elsewhere("tests/live/newcomer/test_documents.py"),
    "rollback": Run(("rollback", *REASON), code=1, says="no retired version"),
    "lower-floor": Run(("lower-floor", *REASON), says="values so far no longer count"),
    "release": Run(("release", "v2", *REASON), code=1, says="versions of this author: none"),
    "export": Run(("export", "v2", "--format", "gguf"), code=1, says="versions of this author"),
    "publish": Run(("publish", "v2", "--to", "a/b"), code=1, says="versions of this author"),
    "logs": Run(("logs", "gateway"), says="mara-lindqvist"),
    "serve": Elsewhere("tests/live/hosts/test_two_hosts.py"),
    "authors": Elsewhere("tests/graph/commands/test_authors_command.py"),
    "keys": Elsewhere("tests/live/newcomer/test_documents.py"),
    "pause": Elsewhere("tests/live/newcomer/test_documents.py"),
    "routing": Elsewhere("tests/live/newcomer/test_documents.py"),
    "why": Run(("why", "--json"), says='"decisions": []'),
    "doctor": Run(("doctor",), says=" passed"),
    "open": Run(("open", "dagster"), says="http://127.0.0.1:"),
    "import": Elsewhere("tests/live/whole/test_posts_to_answer.py"),
    "forget": Elsewhere("tests/live/whole/test_forgotten_post.py"),
    "chat": Run(("chat",), says="/open?link="),
    "retrain": Elsewhere("tests/live/processes/test_dagster_http.py"),
    "stop": Run(("stop",), says="is stopped"),
}
