"""Consent is a line with a day in it."""

from __future__ import annotations

from datetime import date

import pytest

from twin_resources.authors import Author
from twin_resources.consent import consented_on, what_is_missing

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
    assert consented_on(author, today=TODAY) == day
    assert ("no line" in what_is_missing(author)) == (not line)
