"""What people are told of a move in the registry.

Belongs here: which moves are worth a notice, and its words.
Does not belong here: queueing and sending it (`notifications.py`), moving (`registry.py`).
"""
# pyright: strict

from __future__ import annotations

from twin_resources.observability.notifications import Event, Notice
from twin_resources.registry.moves import Move, VersionState

_EVENTS: dict[VersionState, Event] = {
    "stable": "promoted",
    "refused": "refused",
    "parked": "parked",
    "rolled_back": "rolled_back",
}
_TITLES: dict[VersionState, str] = {
    "stable": "v{version} of {author} is stable",
    "refused": "v{version} of {author} was refused",
    "parked": "v{version} of {author} is parked",
    "rolled_back": "v{version} of {author} was rolled back",
}
_NEXT: dict[VersionState, str] = {
    "stable": "It answers now; `twin rollback` brings the one before it back.",
    "refused": "The stable version goes on answering; the gate's table is in the run's metadata.",
    "parked": "The stable version goes on answering. Nothing speaks against this one: "
    "`twin release` releases it by hand.",
    "rolled_back": "The stable version answers all requests.",
}


def notice_of(move: Move) -> Notice | None:
    """The notice of a move; None when nobody needs to know (a trial begins, a version retires).

    A rollback by hand is one notice, about the version that came back.
    """
    if move.to_state not in _EVENTS:
        return None
    back = move.to_state == "stable" and move.from_state == "retired"
    title = _TITLES[move.to_state].format(version=move.version, author=move.author)
    after = _NEXT[move.to_state]
    if move.from_state == "stable" and move.to_state == "refused":
        title = f"v{move.version} of {move.author} was taken back"
        after = (
            "The base model answers again, with the author's posts; the report beside the "
            "checkpoint has all figures. `twin release` releases it by hand."
        )
    how = ", by force" if move.forced else ""
    return Notice(
        key=f"move {move.number} of {move.author}",
        event="rolled_back" if back else _EVENTS[move.to_state],
        author=move.author,
        title=f"{move.author} was rolled back to v{move.version}" if back else title + how,
        text=f"{move.from_state} → {move.to_state} by {move.actor}: {move.reason}\n{after}",
    )
