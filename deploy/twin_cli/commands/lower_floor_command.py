"""Run `twin lower-floor`: restart quality certification manually, with a reason.

Scope: the command and its messages.
Out of scope: the effect on the streams (`retraining/score_watch.py`).
"""
# pyright: strict

from __future__ import annotations

import time

from rich.console import Console

from twin_cli.commands.outcome import open_registry
from twin_cli.commands.subject import choose_author
from twin_cli.commands.versions import current_actor
from twin_resources.errors import TwinError
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.retraining import score_watch
from twin_resources.settings import Settings


def run_lower_floor(settings: Settings, *, author: str, reason: str, console: Console) -> int:
    """Exclude all values settled so far from certification; return the exit code.

    Args:
        reason: the reason, stored with the user and the time.

    Raises:
        TwinError: the reason is empty.
    """
    reason = reason.strip()
    if not reason:
        raise TwinError(
            "lower the floor", found="no reason", next_step='pass a reason: --reason "…"'
        )
    chosen_author = choose_author(settings, author)
    state = open_registry(settings).state
    ledger_tables.open_tables(state)
    with state.transaction() as connection:
        last_sequence, closed_alarm_count = score_watch.lower_floor(
            connection, chosen_author.slug, asked_by=current_actor(), reason=reason, at=time.time()
        )
    closed_text = ""
    if closed_alarm_count:
        alarms_text = "alarm was" if closed_alarm_count == 1 else "alarms were"
        closed_text = f", and {closed_alarm_count} open {alarms_text} closed"
    console.print(
        f"{chosen_author.name}: the {last_sequence:,} values so far no longer count{closed_text}. "
        "Each stream is certified again from its next value, and a new version is not compared "
        "with earlier versions."
    )
    return 0
