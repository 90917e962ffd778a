"""How each command of `twin` is run for real, once, on the one small stack.

Scope: a row a command. Out of scope: the stack (`conftest.py`), which commands there
are: the app says so, and one without a row fails `test_commands.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REASON = ("--reason", "the newcomer's test")


@dataclass(frozen=True)
class Run:
    """One command line, after `twin`.

    Attributes:
        arguments: TRACE stands for the id of an answer, QUESTIONS for a file of one question.
        code: its exit code.
        says: occurs in what it prints.
    """

    arguments: tuple[str, ...]
    code: int = 0
    says: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """Too long to be run here, on a home of its own, or typed as a document says it: the test that
    runs it."""

    test: str


# In this order. There is no version on a stack that has not trained, and they say so.
COMMANDS: Mapping[str, Run | Elsewhere] = {
    "up": Run(("up", "--dry-run"), says="since the last import: 0 added"),
    "demo-loop": Elsewhere("tests/live/whole/test_demo_loop.py"),
    "backup": Elsewhere("tests/graph/backup/test_backup.py"),
    "restore": Elsewhere("tests/graph/backup/test_backup.py"),
    "repair": Elsewhere("tests/graph/backup/test_repaired_assets.py"),
    "check": Run(("check", "--fast"), code=1, says="run deploy/check.sh in one"),
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
