"""Consent is a line with a day in it."""

from __future__ import annotations

import contextlib
import os
import pty
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from twin_cli.commands.subject import AuthorToServe, sample_folder
from twin_cli.commands.terminal_questions import add_consent, is_interactive_terminal

from twin_resources.authors import Author
from twin_resources.authors.consent import consent_date, missing_consent_reason

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
def test_a_line_counts_when_a_day_that_has_come_stands_in_it(line: str, day: date | None) -> None:
    author = Author("ann", "Ann", consent=line)
    assert consent_date(author, today=TODAY) == day
    assert ("no line" in missing_consent_reason(author)) == (not line)


def asked(consent: str = "", *, stated: bool = False, asks: bool = False, typed: Any = ()) -> Any:
    said: list[str] = []
    lines = iter(typed)
    subject = AuthorToServe(
        Author("ann", "Ann", consent=consent), Path("/no/such/folder"), is_new=False
    )
    found = add_consent(
        subject,
        is_declared=stated,
        is_interactive=asks,
        log=said.append,
        read_line=lambda _: next(lines),
    )
    return found.author.consent, said


def test_twin_up_asks_once_notes_the_day_and_says_what_follows_without() -> None:
    today = datetime.now(UTC).date().isoformat()
    assert asked("2020-01-02: by mail", asks=True) == ("2020-01-02: by mail", [])
    consent, said = asked(asks=True, typed=["Yes ", " it is  me "])
    assert consent == f"{today}: it is me"
    assert "noted in authors/ann.toml" in said[0]
    stated, _ = asked("she agreed", stated=True)
    assert stated.startswith(f"{today}: as ")
    assert stated.endswith("said with twin up --consent")
    consent, _ = asked(asks=True, typed=["by mail", "y", ""])
    assert consent.endswith("said at the terminal")
    for silent in (
        asked(),
        asked(asks=True, typed=["  "]),
        asked(asks=True, typed=["No"]),
        asked(asks=True, typed=["maybe", "why", "2026-11-21"]),
    ):
        assert silent[0] == ""
        assert "is not released" in silent[1][1]
        assert "twin up --consent" in silent[1][2]


@pytest.mark.parametrize(
    ("typed", "noted"),
    [("yes\nby letter\n", "by letter"), ("no\n", ""), ("ja?\nyes\nby mail\n", "by mail"),
     ("\x04", ""), ("yes\n\x04", "")],
)  # fmt: skip
def test_at_a_terminal(typed: str, noted: str) -> None:
    """A child process whose standard streams are one."""
    child, terminal = pty.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):  # whatever happens, the test ends in the parent
            sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w", buffering=1)
            subject = AuthorToServe(Author("ann", "Ann"), Path("/no/such/folder"), is_new=False)
            found = add_consent(
                subject,
                is_declared=False,
                is_interactive=is_interactive_terminal(),
                log=sys.stdout.write,
            )
            how = found.author.consent.partition(": ")[2]
            sys.stdout.write(f"<{how}>")
            sys.stdout.flush()
            status = 0
        os._exit(status)
    shown = b""
    for line in typed.splitlines(keepends=True):
        while not shown.endswith((b"]: ", b"? ")):
            shown += os.read(terminal, 1024)
        os.write(terminal, line.encode())
        shown += os.read(terminal, 1)  # the echo: this question has been answered
    with contextlib.suppress(OSError):  # Linux says so where a terminal's other end is closed
        while piece := os.read(terminal, 1024):
            shown += piece
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    os.close(terminal)
    assert b"Has Ann agreed to a model that answers in this voice? yes/no [no]: " in shown
    assert f"<{noted}>".encode() in shown
    assert (b"noted in authors/ann.toml" in shown) == bool(noted)


def test_a_bundled_author_of_an_older_home_takes_the_day_from_its_folder() -> None:
    sample = sample_folder("mara-lindqvist")
    subject = AuthorToServe(
        Author("mara-lindqvist", "Mara", consent="invented"), sample, is_new=False
    )
    found = add_consent(subject, is_declared=False, is_interactive=False, log=lambda line: None)
    assert consent_date(found.author) == date(2020, 1, 1)
