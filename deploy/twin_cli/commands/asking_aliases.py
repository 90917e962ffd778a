"""Asking whose name stands under most posts of a source, when it is not known as the author's.

Belongs here: the question on a terminal, once a name, and looking again with the answer. Does not
belong here: whose a byline is (`twin_assets/corpus/bylines.py`), what is said where nobody can be
asked (the preview's warnings).
"""
# pyright: strict

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from twin_cli.commands.author_progress import read_progress, write_progress
from twin_cli.commands.preview_report import run_preview, show_preview
from twin_cli.commands.subject import AuthorToServe
from twin_resources.processes.wording import counted

if TYPE_CHECKING:
    from twin_assets.corpus.preview import Preview
    from twin_cli.commands.clock import StageClock
    from twin_resources.settings import Settings

TIMES_ASKED = 3
_YES, _NO = frozenset({"y", "yes"}), frozenset({"", "n", "no"})


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
        name: _is_own(author.name, name, posts, read)
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


def _is_own(author: str, name: str, posts: int, read: Callable[[str], str]) -> bool | None:
    """Whether a name is another one of the author's; None where nobody says it."""
    question = (
        f"{name} signed {counted(posts, 'post')}. Is that another name of {author}? yes/no [no]: "
    )
    try:
        for _ in range(TIMES_ASKED):
            typed = " ".join(read(question).split()).casefold()
            if typed in _YES:
                return True
            if typed in _NO:
                return False
            question = f"{typed[:20]!r} is neither yes nor no. Is {name} {author}? [no]: "
    except EOFError:
        sys.stdout.write("\n")  # Ctrl-D leaves the cursor behind the question
    return None
