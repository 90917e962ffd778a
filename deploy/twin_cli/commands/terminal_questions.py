"""Ask at a terminal whether the author has consented and which bylines are the author's.

Scope: the questions, parsing yes or no, and the messages of `twin up` without a terminal.
Out of scope: the definition of consent (`consent.py`), and matching bylines (`corpus/bylines.py`).
"""
# pyright: strict

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twin_assets.corpus.cleaning_verdicts import CO_SIGNED, UNSIGNED
from twin_cli.commands.author_progress import read_progress, write_progress
from twin_cli.commands.console import printable
from twin_cli.commands.preview_report import run_preview, show_preview
from twin_cli.commands.subject import SelectedAuthor, read_folder_consent
from twin_resources.authors import Author
from twin_resources.authors.consent import (
    consent_instructions,
    find_consent_date,
    missing_consent_reason,
)
from twin_resources.processes.wording import format_count

if TYPE_CHECKING:
    from twin_assets.corpus.preview import Preview
    from twin_cli.commands.progress_display import ProgressDisplay
    from twin_resources.settings import Settings
    from twin_resources.storage.tables.tables import Tables

MAX_ATTEMPTS = 3
_YES, _NO = frozenset({"y", "yes"}), frozenset({"", "n", "no", "not yet"})


def add_consent(
    subject: SelectedAuthor,
    *,
    is_declared: bool,
    is_interactive: bool,
    log: Callable[[str], object],
    read_line: Callable[[str], str] = input,
) -> SelectedAuthor:
    """Return the subject with a consent line, if consent is known.

    Args:
        is_declared: whether the user stated with `--consent` that the author has consented.
        is_interactive: whether a person at a terminal can be asked.
        read_line: shows a question and returns the typed line.
    """
    author = subject.author
    if find_consent_date(author) is not None:
        return subject
    # In an older home, a bundled author's file lacks the consent date that the folder's file has.
    folder_consent = read_folder_consent(subject.location)
    if folder_consent and find_consent_date(replace(author, consent=folder_consent)) is not None:
        return replace(subject, author=replace(author, consent=folder_consent))
    today = datetime.now(UTC).date().isoformat()
    if is_declared:
        consent_line = f"{today}: as {getpass.getuser()} said with twin up --consent"
    elif is_interactive and (explanation := _ask_consent(author, read_line)):
        consent_line = f"{today}: {explanation}"
    else:
        log(f"no consent yet: {missing_consent_reason(author)}")
        log(
            "until then, nothing is trained or released, and no post is sent to a model on another "
            "machine; questions are answered with quotations, and released versions keep answering"
        )
        log(consent_instructions(author))
        return subject
    log(f"saved in authors/{author.slug}.toml: consent = {consent_line!r}")
    return replace(subject, author=replace(author, consent=consent_line))


def _ask_consent(author: Author, read_line: Callable[[str], str]) -> str:
    """Return how the author has consented, or an empty string without consent.

    The yes-or-no question comes first, because "no" was once recorded as the way in which an author
    had consented.
    """
    question = f"Has {author.name} agreed to a model that answers in this voice? yes/no [no]: "
    try:
        if not ask_yes_or_no(question, f"Has {author.name} agreed?", read_line=read_line):
            return ""
        explanation = " ".join(read_line("How (by email, I am the author, …)? ").split())
    except EOFError:
        sys.stdout.write("\n")  # Ctrl-D leaves the cursor after the question
        return ""
    return explanation or f"as {getpass.getuser()} said at the terminal"


def ask_yes_or_no(
    question: str, retry_question: str, *, read_line: Callable[[str], str]
) -> bool | None:
    """Return the answer to a yes-or-no question; an empty line means no.

    The result is None after three invalid answers, or after Ctrl-D.

    Args:
        retry_question: the question that follows an invalid answer.
    """
    try:
        for _ in range(MAX_ATTEMPTS):
            answer = " ".join(read_line(printable(question)).split()).casefold()
            if answer in _YES | _NO:
                return answer in _YES
            question = f"{answer[:20]!r} is not an answer; type yes or no. {retry_question} [no]: "
    except EOFError:
        sys.stdout.write("\n")  # Ctrl-D leaves the cursor after the question
    return None


def confirm(question: str, *, read_line: Callable[[str], str]) -> bool:
    """Return whether a person at a terminal answers yes; False without a terminal."""
    return is_interactive_terminal() and bool(
        ask_yes_or_no(f"{question} yes/no [no]: ", question, read_line=read_line)
    )


def is_interactive_terminal() -> bool:
    """Return whether a person at a terminal can answer questions."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _word_byline_question(name: str, posts: str, author: str) -> tuple[str, str]:
    """Return the question about the posts with a byline, and its short form for a second try."""
    if name == UNSIGNED:
        question = f"Did {author} write them?"
        return f"Nobody signed {posts}, and others write in the same place. {question}", question
    if name == CO_SIGNED:
        question = f"Are their words {author}'s all the same?"
        return f"{author} and another person signed {posts}. {question}", question
    return (
        f"{name} signed {posts}. Is that another name for {author}?",
        f"Is {name} {author}?",
    )


def add_aliases(
    settings: Settings,
    subject: SelectedAuthor,
    preview: Preview,
    tables: Tables,
    *,
    display: ProgressDisplay,
    is_interactive: bool,
    read_line: Callable[[str], str] = input,
) -> tuple[SelectedAuthor, Preview]:
    """Return the subject with the author's other names, and a preview that includes them.

    Args:
        tables: the preview's tables.
        is_interactive: whether a person is at a terminal; otherwise nothing is asked or changed.
        read_line: shows a question and returns the typed line.
    """
    if not is_interactive or not preview.unclaimed:
        return subject, preview
    author = subject.author
    progress = read_progress(settings, author.slug)
    answers: dict[str, bool | None] = {}
    for name, posts in preview.unclaimed.items():
        if name not in progress.not_aliases:
            question, short_question = _word_byline_question(
                name, format_count(posts, "post"), author.name
            )
            answers[name] = ask_yes_or_no(
                f"{question} yes/no [no]: ", short_question, read_line=read_line
            )
    if rejected_names := [name for name, is_own in answers.items() if is_own is False]:
        not_aliases = (*progress.not_aliases, *rejected_names)
        write_progress(settings, author.slug, replace(progress, not_aliases=not_aliases))
    accepted_names = [name for name, is_own in answers.items() if is_own]
    if not accepted_names:
        return subject, preview
    aliases = (*author.aliases, *accepted_names)
    display.log(f"saved in authors/{author.slug}.toml: aliases = {list(aliases)}")
    subject = replace(subject, author=replace(author, aliases=aliases))
    preview = run_preview(settings, subject, display, tables)
    show_preview(display, preview)
    return subject, preview
