"""Asking once whether the author has agreed to a twin, and writing the answer down.

Belongs here: the question on a terminal, `--consent`, what `twin up` says without either.
Does not belong here: what counts as consent (`consent.py`), what is held back without it.
"""
# pyright: strict

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from twin_cli.commands.subject import AuthorToServe, consent_of_folder
from twin_resources.authors import Author
from twin_resources.authors.consent import consented_on, how_to_consent, what_is_missing

Say = Callable[[str], object]
TIMES_ASKED = 3
_YES, _NO = frozenset({"y", "yes"}), frozenset({"n", "no", "not yet"})


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
        for _ in range(TIMES_ASKED):
            typed = " ".join(read(question).split()).casefold()
            if typed in {"", *_NO}:
                return ""
            if typed in _YES:
                how = " ".join(read("How (by mail, it is me, …)? ").split())
                return how or f"as {getpass.getuser()} said at the terminal"
            question = f"{typed[:20]!r} is neither yes nor no. Has {author.name} agreed? [no]: "
    except EOFError:
        sys.stdout.write("\n")  # Ctrl-D leaves the cursor behind the question
        return ""
    return ""


def at_a_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()
