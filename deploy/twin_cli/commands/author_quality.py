"""What `twin status` says of an author's answers: what can be found, what waits, what is not heard.

Belongs here: reading it from the state store, and the lines. Does not belong here: the arithmetic
and its words (`retraining/outlook.py`), the rest of a status (`status.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from twin_cli.commands.loop_waits import waiting_line
from twin_resources.errors import TwinError
from twin_resources.quality.ledger.ledger_tables import scores
from twin_resources.quality.retraining import alarm_records, kept_answers, outlook
from twin_resources.quality.retraining.alarm_records import NOT_IN_SCORES
from twin_resources.quality.retraining.retraining_rules import rules_of
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

MOST_AUTHORS = 10  # half a second of drawing; `quality_evidence` says it of every author


def quality_lines(settings: Settings, slugs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Author → lines; an author of whom there is nothing to say is left out.

    Args:
        settings: of a home with a state store.
    """
    try:
        return _read(settings, slugs)
    except TwinError as error:  # the rest of a status is wanted all the same
        return dict.fromkeys(slugs[:1], (f"quality: not known, {error.found}",))


def _read(settings: Settings, slugs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    state, rules, now = State.open(settings.state_address), rules_of(settings), time.time()
    messages: dict[str, tuple[str, ...]] = {}
    try:
        with state.reading() as connection:
            if not sa.inspect(connection).has_table(scores.name):
                return {}
            for place, slug in enumerate(slugs):
                lines: list[str] = []
                if place < MOST_AUTHORS:
                    seen = outlook.outlooks_of(connection, slug, rules, now=now)
                    lines += outlook.lines_of(seen, rules)
                    lines += not_counted_lines(alarm_records.not_counted(connection, slug), slug)
                elif place == MOST_AUTHORS:
                    lines.append("of this author and those below: quality_evidence in Dagster")
                lines += kept_answers.lines_of(connection, slug, now=now)
                if line := waiting_line(connection, slug, now=now):
                    lines.append(line)
                if lines:
                    messages[slug] = tuple(lines)
    finally:
        state.close()
    return messages


def not_counted_lines(counted: Mapping[str, int], slug: str) -> list[str]:
    """Scores that are not heard: by name where a line in the author's file would change that."""
    names = {
        reason.removeprefix(NOT_IN_SCORES): count
        for reason, count in counted.items()
        if reason.startswith(NOT_IN_SCORES)
    }
    rest = {
        reason: count for reason, count in counted.items() if not reason.startswith(NOT_IN_SCORES)
    }
    lines: list[str] = []
    if names:
        lines.append(
            f"not counted: {_listed(names)}; a line in [scores] of authors/{slug}.toml says what "
            "they are"
        )
    if rest:
        lines.append(f"never count: {_listed(rest)}")
    return lines


def _listed(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{counted[name]:,} {name}" for name in sorted(counted))
