"""Build the notices about moves in the registry.

Scope: the moves that have a notice, and its text.
Out of scope: queueing and sending it (`notifications.py`), moving (`registry.py`).
How to add a notice: deploy/docs/contributing.md, "A notification".
"""
# pyright: strict

from __future__ import annotations

from twin_resources.observability.notifications import Event, Notice
from twin_resources.registry.moves import Move, VersionState

# New state → the event, the words in the title, and the consequence.
NOTICES: dict[VersionState, tuple[Event, str, str]] = {
    "stable": (
        "promoted",
        "is stable",
        "It answers now; `twin rollback` restores the previous version.",
    ),
    "refused": (
        "refused",
        "was refused",
        "The stable version still answers; the gate's table is in the run's metadata.",
    ),
    "parked": (
        "parked",
        "is parked",
        "The stable version still answers. The parked version has not failed: "
        "`twin release` releases it by hand.",
    ),
    "rolled_back": ("rolled_back", "was rolled back", "The stable version answers all requests."),
}


def build_notice(move: Move) -> Notice | None:
    """Build the notice of a move; None for a routine move (a trial starts, a version retires).

    A manual rollback has one notice, about the version that is stable again.
    """
    if move.to_state not in NOTICES:
        return None
    event, new_state_text, consequence = NOTICES[move.to_state]
    title = f"v{move.version} of {move.author} {new_state_text}"
    is_rollback = move.to_state == "stable" and move.from_state == "retired"
    if move.from_state == "stable" and move.to_state == "refused":
        title = f"v{move.version} of {move.author} was withdrawn"
        consequence = (
            "The base model answers again, with the author's posts. The report next to the "
            "checkpoint has all figures. `twin release` releases the version by hand."
        )
    force_suffix = ", by force" if move.forced else ""
    return Notice(
        key=f"move {move.number} of {move.author}",
        event="rolled_back" if is_rollback else event,
        author=move.author,
        title=f"{move.author} was rolled back to v{move.version}"
        if is_rollback
        else title + force_suffix,
        text=f"{move.from_state} → {move.to_state} by {move.actor}: {move.reason}\n{consequence}",
    )
