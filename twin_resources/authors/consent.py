"""Whether the author has agreed to a twin: the line `consent` of the author's file.

Scope: what counts as consent, and the sentences about one that is missing.
Out of scope: asking for it (`commands/terminal_questions.py`), what is held back without it
(`registry/registry.py` releases nothing, `stages/outbound_redaction.py` shows a paid provider no
post, `judges/terms.py` and the teacher ask no model on another machine).

A line counts when a day stands in it, so that there is something to hold against a letter or a
mail; who wrote it and how the author agreed is the operator's word, no program can check it.
"""
# pyright: strict

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from twin_resources.authors import Author

_DAY = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")


def consented_on(author: Author, *, today: date | None = None) -> date | None:
    """The day on which the author agreed: the first day of the line; None: no consent yet.

    Args:
        today: UTC; a day that lies ahead of it is none yet (a day of grace for time zones east).
    """
    last = (today or datetime.now(UTC).date()).toordinal() + 1
    for match in _DAY.findall(author.consent):
        try:
            day = date.fromisoformat(match)
        except ValueError:  # 2026-13-01
            continue
        if day.toordinal() <= last:
            return day
    return None


def what_is_missing(author: Author) -> str:
    """Why the author's file gives no consent: the middle of an error or of a line that is told."""
    if not author.consent.strip():
        return f"no line `consent` in authors/{author.slug}.toml"
    return f"no day that has come in `consent = {author.consent!r}` of authors/{author.slug}.toml"


def what_keeps_here(author: Author) -> str:
    """Why nothing of the author may go to a model on another machine; empty: it may."""
    if not author.paid:
        return f"authors/{author.slug}.toml says paid = false"
    return what_is_missing(author) if consented_on(author) is None else ""


def how_to_let_leave(author: Author) -> str:
    """What to do about that."""
    if not author.paid:
        return "leave it so, or take the line paid = false out of the author's file"
    return how_to_consent(author)


def how_to_consent(author: Author) -> str:
    """What to do about it."""
    return (
        f"ask {author.name}, then write the day and how into authors/{author.slug}.toml: "
        'consent = "2026-11-21: agreed by mail", or say that it was given: twin up --consent'
    )
