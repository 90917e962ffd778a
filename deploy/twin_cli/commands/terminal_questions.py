"""What is asked at a terminal: whether the author has agreed, and whose a byline is.

Scope: the questions, yes or no, what `twin up` says where nobody can be asked. Out of
scope: what counts as consent (`consent.py`), whose a byline is (`corpus/bylines.py`).
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
    """The subject with a line of consent, where one is known now.

    Args:
        stated: `--consent`: whoever runs this says that the author has agreed.
        asks: somebody sits at a terminal and is asked; what is neither yes nor no is asked again.
        read: shows a question and returns what was typed.
    """
    author = subject.author
    if consented_on(author) is not None:
        return subject
    # A bundled author of an older home: the folder's own file names the day by now.
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
    """How the author has agreed; empty: not yet, or nobody says.

    Yes or no before the how: "no" was once noted as the way in which an author had agreed.
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
    """Yes or no, which nothing typed is; None: neither, three times, or Ctrl-D.

    Args:
        again: the question behind what was neither.
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
    """Whether somebody can be asked."""
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
    """The subject with the names that are the author's too, and what is left out with them.

    Args:
        asks: somebody sits at a terminal; nobody is asked otherwise, and nothing changes.
        read: shows a question and returns what was typed.
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
