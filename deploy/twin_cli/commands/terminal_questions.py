"""Ask at a terminal whether the author has consented and whose a byline is.

Scope: the questions, yes or no, the output of `twin up` where nobody can be asked.
Out of scope: the definition of consent (`consent.py`), the owner of a byline (`corpus/bylines.py`).
"""
# pyright: strict

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twin_cli.commands.author_progress import read_progress, write_progress
from twin_cli.commands.preview_report import run_preview, show_preview
from twin_cli.commands.subject import AuthorToServe, consent_of_folder
from twin_resources.authors import Author
from twin_resources.authors.consent import consented_on, how_to_consent, what_is_missing
from twin_resources.processes.wording import counted

if TYPE_CHECKING:
    from twin_assets.corpus.preview import Preview
    from twin_cli.commands.clock import StageClock
    from twin_resources.settings import Settings

Say = Callable[[str], object]
TIMES_ASKED = 3
_YES, _NO = frozenset({"y", "yes"}), frozenset({"", "n", "no", "not yet"})


def with_consent(
    subject: AuthorToServe,
    *,
    stated: bool,
    asks: bool,
    log: Say,
    read: Callable[[str], str] = input,
) -> AuthorToServe:
    """Return the subject with a consent line, if one is known now.

    Args:
        stated: whether `--consent` was given: the user says that the author has consented.
        asks: whether a person at a terminal is asked; an answer other than yes or no is asked
            again.
        read: a function that shows a question and returns what was typed.
    """
    author = subject.author
    if consented_on(author) is not None:
        return subject
    # For a bundled author of an older home, the folder's own file now names the day.
    line = consent_of_folder(subject.folder)
    if line and consented_on(replace(author, consent=line)) is not None:
        return replace(subject, author=replace(author, consent=line))
    today = datetime.now(UTC).date().isoformat()
    if stated:
        how = f"{today}: as {getpass.getuser()} said with twin up --consent"
    elif asks and (typed := _asked(author, read)):
        how = f"{today}: {typed}"
    else:
        log(f"no consent yet: {what_is_missing(author)}")
        log(
            "a version that passes the gate is not released, and no post goes to a model on "
            "another machine; what was released before stays"
        )
        log(how_to_consent(author))
        return subject
    log(f"noted in authors/{author.slug}.toml: consent = {how!r}")
    return replace(subject, author=replace(author, consent=how))


def _asked(author: Author, read: Callable[[str], str]) -> str:
    """Return how the author has consented, or empty if not yet or unknown.

    The yes-or-no question comes first: "no" was once recorded as the way in which an author had
    consented.
    """
    question = f"Has {author.name} agreed to a model that answers in this voice? yes/no [no]: "
    try:
        if not says_yes(question, f"Has {author.name} agreed?", read=read):
            return ""
        how = " ".join(read("How (by mail, it is me, …)? ").split())
    except EOFError:
        sys.stdout.write("\n")  # Ctrl-D leaves the cursor behind the question
        return ""
    return how or f"as {getpass.getuser()} said at the terminal"


def says_yes(question: str, again: str, *, read: Callable[[str], str]) -> bool | None:
    """Return the answer to a yes-or-no question; an empty line means no.

    The result is None after three answers that are neither, or after Ctrl-D.

    Args:
        again: the question that follows an answer that is neither.
    """
    try:
        for _ in range(TIMES_ASKED):
            typed = " ".join(read(question).split()).casefold()
            if typed in _YES | _NO:
                return typed in _YES
            question = f"{typed[:20]!r} is neither yes nor no. {again} [no]: "
    except EOFError:
        sys.stdout.write("\n")  # Ctrl-D leaves the cursor behind the question
    return None


def at_a_terminal() -> bool:
    """Return whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def with_aliases(
    settings: Settings,
    subject: AuthorToServe,
    preview: Preview,
    *,
    clock: StageClock,
    asks: bool,
    read: Callable[[str], str] = input,
) -> tuple[AuthorToServe, Preview]:
    """Return the subject with the author's other names, and the preview that includes them.

    Args:
        asks: whether a person is at a terminal; otherwise nobody is asked and nothing changes.
        read: a function that shows a question and returns what was typed.
    """
    if not asks or not preview.unclaimed:
        return subject, preview
    author = subject.author
    progress = read_progress(settings, author.slug)
    answers = {
        name: says_yes(
            f"{name} signed {counted(posts, 'post')}. Is that another name of {author.name}? "
            "yes/no [no]: ",
            f"Is {name} {author.name}?",
            read=read,
        )
        for name, posts in preview.unclaimed.items()
        if name not in progress.not_aliases
    }
    if refused := [name for name, is_own in answers.items() if is_own is False]:
        not_aliases = (*progress.not_aliases, *refused)
        write_progress(settings, author.slug, replace(progress, not_aliases=not_aliases))
    own = [name for name, is_own in answers.items() if is_own]
    if not own:
        return subject, preview
    aliases = (*author.aliases, *own)
    clock.say(f"noted in authors/{author.slug}.toml: aliases = {list(aliases)}")
    subject = replace(subject, author=replace(author, aliases=aliases))
    preview = run_preview(settings, subject)
    show_preview(clock, preview)
    return subject, preview
