"""How a target is recognized: identifiers in fields, in running text and inside other formats."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.erasure_targets import author_target, post_target
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.plan import _contains_target_passage as shows_passage

PATH = "_posts/2019-03-04-the-walk.md"
TRACE = "0" * 30 + "2a"
GONE_AUTHOR = author_target("ada", "Ada Wright")


def gone_post(**values: frozenset[str]) -> ErasureTarget:
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
def test_running_text_that_holds_it(text: str) -> None:
    assert gone_post().matches_text(text)


@pytest.mark.parametrize("text", ["", "read a.md again", f"x{PATH}x", "the old clock of my uncle"])
def test_running_text_that_does_not(text: str) -> None:
    assert not gone_post().matches_text(text)


def test_a_short_identifier_counts_in_a_field_alone() -> None:
    assert gone_post().matches_identifier("a.md")
    assert gone_post().matches_value({"source_id": "a.md"})
    assert not gone_post().matches_value({"note": "see a.md"})
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
def test_an_answer_is_known_by_the_passage_that_its_prompt_held(row: dict[str, Any]) -> None:
    assert shows_passage(row, gone_post(chunks=frozenset({"c-9"})))
    assert not shows_passage(row, gone_post(chunks=frozenset({"c-90"})))


@pytest.mark.parametrize("row", [{}, {"metadata": None}, {"metadata": {}}, {"chunks": ""}])
def test_a_row_without_passages_shows_none(row: dict[str, Any]) -> None:
    assert not shows_passage(row, gone_post(chunks=frozenset({"c-9", ""})))


def test_json_inside_json_is_looked_into() -> None:
    inner = json.dumps({"messages": [{"content": "In March the old\nclock of my uncle stopped"}]})
    assert gone_post().matches_value(json.dumps({"body": inner}))


@pytest.mark.parametrize("wrap", [dict.fromkeys, lambda one: one])
def test_letters_that_json_escapes_are_read_as_letters(wrap: Any) -> None:
    target = post_target("ada", "a", "Im März stand die große Uhr über Nacht für immer still")
    document = json.dumps(wrap(["im März stand die große Uhr über Nacht für immer"]))
    assert "\\u00e4" in document
    assert target.matches_value(document)
    assert target.matches_value({"in": [document]})
    assert target.matches_value(["[a note] im März stand die große Uhr über Nacht für immer"])
    assert target.matches_value("im März stand die große Uhr über Nacht für immer".encode())
    assert not target.matches_value([1, None, "im März", b"Uhr"])


@pytest.mark.parametrize(
    ("text", "held"),
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
def test_an_author_is_found_by_name_and_not_in_other_names(text: str, held: bool) -> None:
    assert GONE_AUTHOR.matches_text(text) is held


def test_the_journal_gives_the_same_value_back() -> None:
    gone = gone_post(traces=frozenset({TRACE}), checkpoints=frozenset({"c"}))
    read = ErasureTarget.from_json(gone.subject, gone.to_json(), gone.fingerprints)
    assert (read.ids, read.traces, read.checkpoints) == (gone.ids, gone.traces, gone.checkpoints)
    assert read.matches_text("in march the old clock of my uncle stopped")


def test_a_digest_names_the_subject_and_nothing_else() -> None:
    assert ErasureSubject("post", "ada", PATH).digest != ErasureSubject("post", "bea", PATH).digest
    assert len(ErasureSubject("reader", "", "r").digest) == 64
