"""Read the table `[guards]`: actions on personal data, secrets, injections and listed words.

Scope: the table of the author's file, its kinds, places and actions, and their defaults.
Out of scope: detection (`gateway/guards/`), personal data in posts, which an import
removes (`privacy/`).

    [guards]
    personal = "mask"                                # one action for all places, or by place:
    secrets = { input = "mask", passages = "mask", answer = "block" }
    injection = { input = "block" }
    words = "block"
    block_list = ["Project Heron", "Jane Roe"]
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

GuardKind = Literal["personal", "secrets", "injection", "words"]
GuardPlace = Literal["input", "passages", "answer"]
GuardAction = Literal["off", "record", "mask", "block"]
KINDS: tuple[GuardKind, ...] = get_args(GuardKind)
PLACES: tuple[GuardPlace, ...] = get_args(GuardPlace)
ACTIONS: tuple[GuardAction, ...] = get_args(GuardAction)

# Readers may send their own numbers, which stay on the machine. Other people may read an answer
# that repeats a number. A question with an injection is answered, because questions about
# injections are legitimate. Its control tokens are escaped, so at worst it spoils the answer to its
# own writer. An injection in a passage is blocked, because the reader did not write it.
DEFAULTS: Mapping[GuardKind, Mapping[GuardPlace, GuardAction]] = {
    "personal": {"input": "record", "passages": "mask", "answer": "mask"},
    "secrets": {"input": "mask", "passages": "mask", "answer": "mask"},
    "injection": {"input": "record", "passages": "block", "answer": "record"},
    "words": {"input": "block", "passages": "block", "answer": "block"},
}


@dataclass(frozen=True)
class Guards:
    """The table of one author.

    Attributes:
        overrides: the differences from the defaults as (kind, place, action), in a fixed order.
        block_list: words and phrases; case and spacing are ignored.
    """

    overrides: tuple[tuple[GuardKind, GuardPlace, GuardAction], ...] = ()
    block_list: tuple[str, ...] = ()

    def as_table(self) -> dict[str, Any]:
        """Return the same settings as a TOML table, without defaults."""
        table: dict[str, Any] = {}
        for kind, place, action in self.overrides:
            table.setdefault(kind, {})[place] = action
        return table | ({"block_list": list(self.block_list)} if self.block_list else {})

    def get_action(self, kind: GuardKind, place: GuardPlace) -> GuardAction:
        """Return the author's action for a kind in a place, or the default."""
        for override in self.overrides:
            if override[:2] == (kind, place):
                return override[2]
        return DEFAULTS[kind][place]


DEFAULT_GUARDS = Guards()


def read_guards(table: Mapping[str, Any]) -> Guards:
    """Read the table `[guards]`; missing entries get their defaults.

    Raises:
        ValueError: a name, place or action is unknown; the message names it.
    """
    actions = {kind: dict(DEFAULTS[kind]) for kind in KINDS}
    words: tuple[str, ...] = ()
    for name, value in table.items():
        if name == "block_list":
            words = _parse_words(value)
        elif name not in KINDS:
            raise ValueError(f"{name!r} is not one of {', '.join((*KINDS, 'block_list'))}")
        elif isinstance(value, Mapping):
            for place, action in cast("Mapping[str, Any]", value).items():
                if place not in PLACES:
                    raise ValueError(f"{name}.{place} is not one of {', '.join(PLACES)}")
                actions[name][place] = _parse_action(f"{name}.{place}", action)
        else:
            actions[name] = dict.fromkeys(PLACES, _parse_action(name, value))
    overrides: list[tuple[GuardKind, GuardPlace, GuardAction]] = [
        (kind, place, actions[kind][place])
        for kind in KINDS
        for place in PLACES
        if actions[kind][place] != DEFAULTS[kind][place]
    ]
    return Guards(tuple(overrides), words)


def _parse_action(name: str, value: object) -> GuardAction:
    for action in ACTIONS:
        if value == action:
            return action
    raise ValueError(f"{name} = {value!r} is not one of {', '.join(ACTIONS)}")


def _parse_words(value: object) -> tuple[str, ...]:
    words = cast("list[object]", value) if isinstance(value, list | tuple) else None
    if words is None or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError(f"block_list = {value!r} is not a list of words")
    return tuple(str(word) for word in words)
