"""Whose post it is."""

from __future__ import annotations

import pytest

from twin_assets.corpus.bylines import foreign_bylines, is_by, may_be_adopted, said_author

NAMES = ("José Núñez", "jnunez", "Pepe N.")


@pytest.mark.parametrize(
    "byline",
    [
        "José Núñez",
        "Jose Nunez",
        "by José Núñez",
        "NÚÑEZ, José",
        "J. Núñez",
        "José",
        "@jnunez",
        "José Núñez <jose@a.example>",
        "José Núñez and Ann Lee",
        "Ann Lee & José Núñez",
        "José María Núñez",
        "Pepe",
        "admin",
        "Staff",
        "",
        "   ",
    ],
)
def test_the_authors_own(byline: str) -> None:
    assert is_by(byline, NAMES)


@pytest.mark.parametrize(
    "byline", ["Ann Lee", "Ann Núñez", "A. L.", "José Lee", "Guest Ann Lee", "李", "Nuñezito"]
)
def test_somebody_elses(byline: str) -> None:
    assert not is_by(byline, NAMES)


def test_without_names_nobody_is_foreign() -> None:
    assert foreign_bylines({"Ann Lee"}, ()) == set()
    assert foreign_bylines({"Ann Lee", "José", ""}, NAMES) == {"Ann Lee"}


@pytest.mark.parametrize(
    ("byline", "may"),
    [
        ("josebuildsclocks", True),
        ("@jn", True),
        ("clock-mender_42", True),
        ("José Lee", True),
        ("Ann Lee", False),
        ("The clock menders", False),
        ("李明", False),
    ],
)
def test_a_handle_may_be_adopted_and_a_full_name_of_somebody_else_never(
    byline: str, *, may: bool
) -> None:
    assert may_be_adopted(byline, NAMES) is may


BODY = "A paragraph by itself.\n\nAnother one, by the way.\n\nA third.\n\nA fourth.\n\nA fifth."


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("By Ann Lee", "Ann Lee"),
        ("*By Ann van der Lee*", "Ann van der Lee"),
        ("Written by Ann B. Lee.", "Ann B. Lee"),
        ("Guest post by Ann Lee", "Ann Lee"),
        ("This is a guest post by Ann Lee, who builds clocks.", "Ann Lee"),
        ("*Editor's note: This is a guest article from Ann Lee.*", "Ann Lee"),
        ("By the river", ""),
        ("By Monday all was done", ""),
        ("Written by hand", ""),
        ("A guest post by a friend", ""),
    ],
)
def test_a_byline_in_the_text(line: str, name: str) -> None:
    assert said_author(f"{line}\n\n{BODY}") == name
    assert said_author(f"{BODY}\n\n{line}") == name


def test_a_name_in_the_middle_or_in_code_is_no_byline() -> None:
    middle = BODY.replace("A fourth.", "By Ann Lee")
    assert said_author(f"{middle}\n\nA sixth.\n\nA seventh.") == ""
    assert said_author(f"```\nBy Ann Lee\n```\n\n{BODY}") == ""
