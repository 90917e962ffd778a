"""A TwinError that comes back from another process as text."""

from __future__ import annotations

from twin_cli.commands.retold_errors import retold

from twin_resources.errors import TwinError


def test_the_parts_are_found_again() -> None:
    error = TwinError("read a.md", found="no file a.md", next_step="name one. Or two")
    told = retold(f"twin_resources.errors.TwinError: {error}\n")
    assert told is not None
    assert (told.tried, told.found, told.next_step) == (
        "read a.md",
        "no file a.md",
        "name one. Or two",
    )


def test_other_texts_hold_none() -> None:
    assert retold("ValueError: no space left") is None
