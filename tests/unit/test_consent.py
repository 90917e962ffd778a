"""Test that consent is a line of text with a date, and how `twin up` asks for it."""

from __future__ import annotations

import contextlib
import os
import pty
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from twin_cli.commands.subject import SelectedAuthor, find_sample_folder
from twin_cli.commands.terminal_questions import add_consent, is_interactive_terminal

from twin_resources.authors import Author
from twin_resources.authors.consent import find_consent_date, missing_consent_reason

TODAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    ("line", "day"),
    [
        ("2026-11-20: agreed by mail", date(2026, 11, 20)),
        ("agreed by letter on 2024-02-29.", date(2024, 2, 29)),
        ("2026-13-01, no: 2026-01-13", date(2026, 1, 13)),
        ("2026-11-22: it is tomorrow in the east", date(2026, 11, 22)),
        ("2026-11-23: not yet", None),
        ("number 12026-11-201", None),
        ("yes", None),
        ("", None),
    ],
)
def test_a_line_with_a_valid_date_is_consent(line: str, day: date | None) -> None:
    author = Author("ann", "Ann", consent=line)
    assert find_consent_date(author, today=TODAY) == day
    assert ("no line" in missing_consent_reason(author)) == (not line)


def ask_consent(
    line: str = "", *, is_declared: bool = False, is_interactive: bool = False, typed: Any = ()
) -> Any:
    """Return the consent after `add_consent`, and its messages.

    Args:
        line: the consent in the author's file.
        typed: the lines typed at the terminal.
    """
    messages: list[str] = []
    lines = iter(typed)
    subject = SelectedAuthor(
        Author("ann", "Ann", consent=line), Path("/no/such/folder"), is_new=False
    )
    result = add_consent(
        subject,
        is_declared=is_declared,
        is_interactive=is_interactive,
        log=messages.append,
        read_line=lambda _: next(lines),
    )
    return result.author.consent, messages


def test_twin_up_asks_once_records_the_date_and_explains_a_missing_consent() -> None:
    today = datetime.now(UTC).date().isoformat()
    assert ask_consent("2020-01-02: by mail", is_interactive=True) == ("2020-01-02: by mail", [])
    consent, messages = ask_consent(is_interactive=True, typed=["Yes ", " it is  me "])
    assert consent == f"{today}: it is me"
    assert "saved in authors/ann.toml" in messages[0]
    line, _ = ask_consent("she agreed", is_declared=True)
    assert line.startswith(f"{today}: as ")
    assert line.endswith("said with twin up --consent")
    consent, _ = ask_consent(is_interactive=True, typed=["by mail", "y", ""])
    assert consent.endswith("said at the terminal")
    for refused in (
        ask_consent(),
        ask_consent(is_interactive=True, typed=["  "]),
        ask_consent(is_interactive=True, typed=["No"]),
        ask_consent(is_interactive=True, typed=["maybe", "why", "2026-11-21"]),
    ):
        assert refused[0] == ""
        assert "nothing is trained or released" in refused[1][1]
        assert "twin up --consent" in refused[1][2]


@pytest.mark.parametrize(
    ("typed", "channel"),
    [("yes\nby letter\n", "by letter"), ("no\n", ""), ("ja?\nyes\nby mail\n", "by mail"),
     ("\x04", ""), ("yes\n\x04", "")],
)  # fmt: skip
def test_consent_is_asked_for_at_a_terminal(typed: str, channel: str) -> None:
    """The standard streams of the child process are a terminal."""
    child, terminal = pty.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):  # on any failure the test ends in the parent
            sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w", buffering=1)
            subject = SelectedAuthor(Author("ann", "Ann"), Path("/no/such/folder"), is_new=False)
            with_consent = add_consent(
                subject,
                is_declared=False,
                is_interactive=is_interactive_terminal(),
                log=sys.stdout.write,
            )
            sys.stdout.write(f"<{with_consent.author.consent.partition(': ')[2]}>")
            sys.stdout.flush()
            status = 0
        os._exit(status)
    output = b""
    for line in typed.splitlines(keepends=True):
        while not output.endswith((b"]: ", b"? ")):
            output += os.read(terminal, 1024)
        os.write(terminal, line.encode())
        output += os.read(terminal, 1)  # The echo shows that the answer was read.
    with contextlib.suppress(OSError):  # Linux raises OSError once the other end is closed
        while chunk := os.read(terminal, 1024):
            output += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, output
    os.close(terminal)
    assert b"Has Ann agreed to a model that answers in this voice? yes/no [no]: " in output
    assert f"<{channel}>".encode() in output
    assert (b"saved in authors/ann.toml" in output) == bool(channel)


def test_a_bundled_author_without_a_date_gets_it_from_the_sample_folder() -> None:
    sample = find_sample_folder("mara-lindqvist")
    subject = SelectedAuthor(
        Author("mara-lindqvist", "Mara", consent="invented"), sample, is_new=False
    )
    result = add_consent(subject, is_declared=False, is_interactive=False, log=lambda line: None)
    assert find_consent_date(result.author) == date(2020, 1, 1)
