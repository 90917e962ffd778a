"""Read the table `[front_desk]`: an author's replies to messages that no post answers.

[front_desk]
danger = "You can call me: 555 0100."    # added above the help lines
identity = "A program that quotes me."   # replaces the program's text
private = ""                             # such a message is answered like any question
not_written = "I have not written about this." # above the closest passages
write_to = "ann@clocks.example"          # where to write to you about it: a mail or web address
never = "I do not answer this."          # to questions that `twin questions --never` declines
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

DeskKind = Literal["danger", "dangerous", "identity", "ability", "greeting", "private", "insult"]
"""Kind of a message that the program answers itself."""
DeskText = DeskKind | Literal["never", "not_written", "write_to"]
DESK_KINDS: tuple[DeskKind, ...] = get_args(DeskKind)
DESK_TEXTS: tuple[DeskText, ...] = (*DESK_KINDS, "never", "not_written", "write_to")


@dataclass(frozen=True)
class DeskTexts:
    """The table of one author.

    Attributes:
        texts: pairs of a kind and the author's text, in a fixed order; an empty text turns the kind
            off.
    """

    texts: tuple[tuple[DeskText, str], ...] = ()

    def as_table(self) -> dict[str, Any]:
        """Return the same settings as a TOML table."""
        return dict(self.texts)

    def get_text(self, name: DeskText) -> str | None:
        """Return the author's text of this name, or None."""
        return dict(self.texts).get(name)


DEFAULT_DESK_TEXTS = DeskTexts()


def read_front_desk(table: Mapping[str, Any]) -> DeskTexts:
    """Read the table `[front_desk]`.

    Raises:
        ValueError: an unknown name, a value that is not text, or a text that may not be empty.
    """
    for name, value in table.items():
        if name not in DESK_TEXTS:
            raise ValueError(f"{name!r} is not one of {', '.join(DESK_TEXTS)}")
        if not isinstance(value, str):
            raise ValueError(f"{name} = {value!r} is not text")
        if name in {"danger", "never", "not_written"} and not value.strip():
            raise ValueError(f"{name} is empty, but the reader must always get an answer")
        if name == "write_to" and not re.fullmatch(r"\S+@\S+\.\S+|https?://\S+", value.strip()):
            raise ValueError(f"write_to = {value!r} is neither a mail nor a web address")
    return DeskTexts(tuple((name, table[name].strip()) for name in DESK_TEXTS if name in table))
