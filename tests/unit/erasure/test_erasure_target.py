"""Test how a target is recognized: by identifiers in fields, running text and other formats."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.erasure_targets import author_target, post_target
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.plan import _contains_target_passage as contains_passage

PATH = "_posts/2019-03-04-the-walk.md"
TRACE = "0" * 30 + "2a"
ERASED_AUTHOR = author_target("ada", "Ada Wright")


def make_erased_post(**values: frozenset[str]) -> ErasureTarget:
    text = "In March the old clock of my uncle stopped for good"
    return post_target("ada", PATH, text, ids=[TRACE, "a.md"], **values)


@pytest.mark.parametrize(
    "text",
    [
        f"read {PATH} again",
        f"cannot open /home/me/blog/{PATH}: gone",
        f'{{"trace": "{TRACE}"}}',
        "and in march the old clock of my uncle too",
    ],
)
def test_running_text_with_the_target_matches(text: str) -> None:
    assert make_erased_post().matches_text(text)


@pytest.mark.parametrize("text", ["", "read a.md again", f"x{PATH}x", "the old clock of my uncle"])
def test_other_running_text_does_not_match(text: str) -> None:
    assert not make_erased_post().matches_text(text)


def test_a_short_identifier_matches_only_in_a_field() -> None:
    assert make_erased_post().matches_identifier("a.md")
    assert make_erased_post().matches_value({"source_id": "a.md"})
    assert not make_erased_post().matches_value({"note": "see a.md"})
    for letters, is_found in ((11, False), (12, True)):
        target = post_target("ada", "a" * letters)
        for text in ("see {}.", "in blog/{}"):
            assert target.matches_text(text.format("a" * letters)) is is_found


@pytest.mark.parametrize(
    "row",
    [
        {"chunks": ["c-2", "c-9"]},
        {"chunks": '["c-9"]'},
        {"metadata": {"twin.chunks": "c-9,c-2"}},
        {"metadata": json.dumps({"twin.chunks": ["c-9"]})},
    ],
)
def test_an_answer_is_recognized_by_a_passage_in_its_prompt(row: dict[str, Any]) -> None:
    assert contains_passage(row, make_erased_post(chunks=frozenset({"c-9"})))
    assert not contains_passage(row, make_erased_post(chunks=frozenset({"c-90"})))


@pytest.mark.parametrize("row", [{}, {"metadata": None}, {"metadata": {}}, {"chunks": ""}])
def test_a_row_without_passages_does_not_match(row: dict[str, Any]) -> None:
    assert not contains_passage(row, make_erased_post(chunks=frozenset({"c-9", ""})))


@pytest.mark.parametrize("wrap", [dict.fromkeys, lambda texts: texts])
def test_letters_escaped_in_json_are_decoded(wrap: Any) -> None:
    target = post_target("ada", "a", "Im März stand die große Uhr über Nacht für immer still")
    document = json.dumps(wrap(["im März stand die große Uhr über Nacht für immer"]))
    assert "\\u00e4" in document
    assert target.matches_value(document)
    assert target.matches_value({"in": [document]})
    assert target.matches_value(["[a note] im März stand die große Uhr über Nacht für immer"])
    assert target.matches_value("im März stand die große Uhr über Nacht für immer".encode())
    assert not target.matches_value([1, None, "im März", b"Uhr"])


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("twin/ada answered", True),
        ("model-server-ada-v1.log", True),
        ("training-ada.log", True),
        ("quality:ada:2:thumbs:1", True),
        ("ada-0123456789abcdef", True),
        ("written by Ada Wright", True),
        ("adalbert", False),
        ("ada-lovelace", False),
        ("model-server-ada-lovelace-v1", False),
        ("canada", False),
    ],
)
def test_an_authors_name_matches_but_not_within_other_names(text: str, is_found: bool) -> None:
    assert ERASED_AUTHOR.matches_text(text) is is_found
