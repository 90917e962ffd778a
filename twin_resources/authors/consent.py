"""Check the author's consent to a twin: the line `consent` in the author's file.

Scope: the definition of consent, and the messages about missing consent.
Out of scope: asking for it (`commands/terminal_questions.py`), withholding posts without it
(`registry/registry.py` releases nothing, `gateway/request_path.py` sends no post to a
paid provider, `judges/terms.py` and the teacher call no model on another machine).

A line counts if it contains a date, which can be compared with a letter or an e-mail. A program
cannot check who wrote the line or how the author agreed; the operator is responsible for both.
"""
# pyright: strict

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from twin_resources.authors import Author

_DAY = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")


def find_consent_date(author: Author, *, today: date | None = None) -> date | None:
    """Return the day on which the author agreed (the first valid date of the line), or None.

    Args:
        today: date in UTC. Because of time zones, the next day still counts; later days do not.
    """
    latest_day = (today or datetime.now(UTC).date()).toordinal() + 1
    for match in _DAY.findall(author.consent):
        try:
            day = date.fromisoformat(match)
        except ValueError:  # 2026-13-01
            continue
        if day.toordinal() <= latest_day:
            return day
    return None


def missing_consent_reason(author: Author) -> str:
    """Return a clause that says why the author's file contains no valid consent."""
    if not author.consent.strip():
        return f"no line `consent` in authors/{author.slug}.toml"
    return f"no past date in `consent = {author.consent!r}` in authors/{author.slug}.toml"


def find_external_use_refusal(author: Author) -> str:
    """Return why no post may be sent to a model on another machine, or "" if it may."""
    if not author.paid:
        return f"authors/{author.slug}.toml sets paid = false"
    return missing_consent_reason(author) if find_consent_date(author) is None else ""


def external_use_instructions(author: Author) -> str:
    """Return an instruction that enables sending posts to another machine."""
    if not author.paid:
        return "keep the setting, or remove the line paid = false from the author's file"
    return consent_instructions(author)


def consent_instructions(author: Author) -> str:
    """Return an instruction that records the author's consent."""
    return (
        f"ask {author.name}, then write the date and the form in authors/{author.slug}.toml: "
        'consent = "2026-11-21: agreed by mail", or record it with `twin up --consent`'
    )
