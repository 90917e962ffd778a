"""What people are told of a move in the registry.

Scope: which moves are worth a notice, and its words.
Out of scope: queueing and sending it (`notifications.py`), moving (`registry.py`).
How to tell of another one: deploy/docs/contributing.md, "A notification".
"""
# pyright: strict

from __future__ import annotations

from twin_resources.observability.notifications import Event, Notice
from twin_resources.registry.moves import Move, VersionState

# State that a version comes to → the event, what it is called, and what follows from it.
TOLD: dict[VersionState, tuple[Event, str, str]] = {
    "stable": (
        "promoted",
        "is stable",
        "It answers now; `twin rollback` brings the one before it back.",
    ),
    "refused": (
        "refused",
        "was refused",
        "The stable version goes on answering; the gate's table is in the run's metadata.",
    ),
    "parked": (
        "parked",
        "is parked",
        "The stable version goes on answering. Nothing speaks against this one: "
        "`twin release` releases it by hand.",
    ),
    "rolled_back": ("rolled_back", "was rolled back", "The stable version answers all requests."),
}


def notice_of(move: Move) -> Notice | None:
    """The notice of a move; None when nobody needs to know (a trial begins, a version retires).

    A rollback by hand is one notice, about the version that came back.
    """
    if move.to_state not in TOLD:
        return None
    event, became, after = TOLD[move.to_state]
    title = f"v{move.version} of {move.author} {became}"
    back = move.to_state == "stable" and move.from_state == "retired"
    if move.from_state == "stable" and move.to_state == "refused":
        title = f"v{move.version} of {move.author} was taken back"
        after = (
            "The base model answers again, with the author's posts; the report beside the "
            "checkpoint has all figures. `twin release` releases it by hand."
        )
    how = ", by force" if move.forced else ""
    return Notice(
        key=f"move {move.number} of {move.author}",
        event="rolled_back" if back else event,
        author=move.author,
        title=f"{move.author} was rolled back to v{move.version}" if back else title + how,
        text=f"{move.from_state} → {move.to_state} by {move.actor}: {move.reason}\n{after}",
    )
