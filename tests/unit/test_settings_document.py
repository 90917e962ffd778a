"""`deploy/docs/settings.md` names every variable and setting, and is of today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from checkout.settings_document import (
    DOCUMENT,
    NOT_SETTINGS,
    attributes_of,
    comments_of_fields,
    document,
    variable_of,
)

from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_document_is_of_today() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")

    assert written == document(), "run `python deploy/checkout/settings_document.py`"


def test_every_variable_and_setting_has_a_row() -> None:
    rows = set(re.findall(r"^\| `([^`]+)` \|", document(), re.MULTILINE))

    assert {variable_of(name) for name in Settings.model_fields} <= rows
    assert set(Author.__dataclass_fields__) - {"slug", "extra"} <= rows


def test_every_variable_of_ours_in_the_code_is_in_the_document() -> None:
    named: set[str] = set()
    for folder in ("twin_assets", "twin_resources", "twin_sensors"):
        for path in (ROOT / folder).rglob("*.py"):
            named |= set(
                re.findall(r"\bTWIN_[A-Z][A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8"))
            )
    known = {variable_of(name) for name in Settings.model_fields} | set(NOT_SETTINGS)

    assert named - known == set()


def test_a_setting_without_a_word_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkout.settings_document.comments_of_fields", lambda *_: {})

    with pytest.raises(TwinError, match="describe the setting home"):
        document()


def test_comments_above_and_behind_are_the_description() -> None:
    source = (
        "class Settings:\n"
        "    # Not this one.\n"
        "\n"
        "    # How many,\n"
        "    # in all\n"
        "    many: int = 3  # at most\n"
        "    none: int = 4\n"
    )

    assert comments_of_fields(source, "Settings") == {
        "many": "How many, in all at most",
        "none": "",
    }


def test_attributes_that_share_a_line_share_its_words() -> None:
    said = attributes_of(
        "A thing.\n\nAttributes:\n    one, two: of a\n        pair.\n    three: it."
    )

    assert said == {"one": "of a pair.", "two": "of a pair.", "three": "it."}
