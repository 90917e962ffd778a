"""Read the table `[front_desk]`: an author's replies to messages that no post answers.

Scope: the table of the author's file and its kinds. Out of scope: the program's texts and
classifying a message (`gateway/front_desk/`).

    [front_desk]
    danger = "You can call me: 555 0100."    # added above the help lines
    identity = "A program that quotes me."   # replaces the program's text
    private = ""                             # such a message is answered like any question
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

DeskKind = Literal["danger", "dangerous", "identity", "ability", "greeting", "private", "insult"]
DESK_KINDS: tuple[DeskKind, ...] = get_args(DeskKind)


@dataclass(frozen=True)
class DeskTexts:
    """The table of one author.

    Attributes:
        texts: pairs of a kind and the author's text, in a fixed order; an empty text turns the kind
            off.
    """

    texts: tuple[tuple[DeskKind, str], ...] = ()

    def as_table(self) -> dict[str, Any]:
        """Return the same settings as a TOML table."""
        return dict(self.texts)

    def get_text(self, kind: DeskKind) -> str | None:
        """Return the author's text of this kind, or None."""
        return dict(self.texts).get(kind)


DEFAULT_DESK_TEXTS = DeskTexts()


def read_front_desk(table: Mapping[str, Any]) -> DeskTexts:
    """Read the table `[front_desk]`.

    Raises:
        ValueError: an unknown kind, a value that is not text, or danger turned off.
    """
    for name, value in table.items():
        if name not in DESK_KINDS:
            raise ValueError(f"{name!r} is not one of {', '.join(DESK_KINDS)}")
        if not isinstance(value, str):
            raise ValueError(f"{name} = {value!r} is not text")
    if table.get("danger", "-").strip() == "":
        raise ValueError("danger is empty, but a reader in danger must always get an answer")
    texts: list[tuple[DeskKind, str]] = [
        (kind, str(table[kind]).strip()) for kind in DESK_KINDS if kind in table
    ]
    return DeskTexts(tuple(texts))
