"""Test questions derived from titles."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from twin_assets.corpus.title_questions import (
    extract_quoted_title,
    generate_title_questions,
    question_from_title,
    score_titles,
    select_typical_posts,
    to_sentence_case,
)


@pytest.mark.parametrize(
    ("title", "text", "question"),
    [
        ("How to Write Portable C", "", "How do I write portable C?"),
        ("Why do clocks stop?", "", "Why do clocks stop?"),
        (
            "Introduction to Emacs Lisp",
            "I like Emacs and Lisp",
            "Can you introduce me to Emacs Lisp?",
        ),
        ("Mending a Clock: Part Two", "", "What is your advice on mending a clock?"),
        ("Find Files With fd", "", "How do I find files with fd?"),
        ("Set A Seed", "", "How do I set a seed?"),
        ("Set Theory", "", "Can you tell me more about “Set Theory”?"),
        ("Everything is Broken", "", "Can you tell me more about “Everything is Broken”?"),
        ("Why I Left Berlin", "when I left Berlin", "Can you tell me why you left Berlin?"),
        ("Clay Klein Bottle", "", "Can you tell me more about “Clay Klein Bottle”?"),
        ("Why the seconds hand steps back", "", "Can you explain why the seconds hand steps back?"),
        ("What the signalman told me", "", "Can you explain what the signalman told you?"),
        ("How full is too full", "", "How full is too full?"),
        ("Winding day", "", "Can you tell me more about “Winding day”?"),
        (
            "Falling stars, upper deck",
            "",
            "Can you tell me more about “Falling stars, upper deck”?",
        ),
        ("Moving house with DNS", "DNS", "What is your advice on moving house with DNS?"),
        ("Restore day", "", "Can you tell me more about “Restore day”?"),
    ],
)
def test_a_title_becomes_a_question_by_its_form(title: str, text: str, question: str) -> None:
    assert question_from_title(title, text=text) == question


def test_other_languages_quote_the_title() -> None:
    assert (
        question_from_title("Uhren reparieren", language="de")
        == "Was schreibst du über „Uhren reparieren“?"
    )
    assert (
        question_from_title("時計の修理", language="ja")
        == "「時計の修理」について何を書きましたか？"
    )
    assert question_from_title("Kellot", language="fi") == "Can you tell me more about “Kellot”?"


@pytest.mark.parametrize(("title", "language"), [("Set Theory", "en"), ("Uhren", "de")])
def test_a_quoted_title_is_extracted_from_its_question(title: str, language: str) -> None:
    assert extract_quoted_title(question_from_title(title, language=language)) == title
    assert extract_quoted_title("How do I carry a clock?") == ""


def test_names_keep_their_capitals() -> None:
    text = "The Emacs of today uses the JIT. We set files and Windows aside, as files go."
    assert to_sentence_case("Emacs With JIT And Files", text=text) == "Emacs with JIT and files"
    assert to_sentence_case("C++ std::regex in C", text="") == "C++ std::regex in C"


SCHEMA = {
    "title": pl.String,
    "text": pl.String,
    "words": pl.Int64,
    "language": pl.String,
    "source_id": pl.String,
}


def build_documents(*titles: str, words: int = 100) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "title": titles,
            "text": ["Some text."] * len(titles),
            "words": [words + n for n in range(len(titles))],
            "language": ["en"] * len(titles),
            "source_id": [f"{n}.md" for n in range(len(titles))],
            "published_at": [datetime(2000 + n, 1, 1, tzinfo=UTC) for n in range(len(titles))],
        },
        schema={**SCHEMA, "published_at": pl.Datetime("us", "UTC")},
    )


def test_self_explanatory_titles_are_preferred_across_years() -> None:
    titles = (
        "Links",
        "How to mend a clock",
        "News",
        "Mending a small boat",
        "Why do lamps go out?",
    )
    frame = build_documents(*titles, "Untitled thoughts of today")
    assert generate_title_questions(select_typical_posts(score_titles(frame))) == [
        "How do I mend a clock?",
        "What is your advice on mending a small boat?",
        "Why do lamps go out?",
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_posts_give_few_questions(count: int) -> None:
    frame = build_documents(*(f"Title {n}" for n in range(count)))
    assert len(generate_title_questions(select_typical_posts(score_titles(frame)))) == min(count, 3)


def test_equal_titles_give_one_question() -> None:
    documents = build_documents("Week notes", "Week notes", "Week notes")
    assert len(generate_title_questions(select_typical_posts(score_titles(documents)))) == 1


def test_posts_without_titles_are_named_by_their_first_words() -> None:
    texts = ["The old clock,\nstopped at noon, was mended today.", "A boat\tneeds paint."]
    documents = pl.DataFrame(
        {
            "title": ["", ""],
            "text": texts,
            "words": [9, 4],
            "language": ["en", "en"],
            "published_at": [datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)],
            "source_id": ["a", "b"],
        }
    )
    posts = select_typical_posts(score_titles(documents))
    assert posts["title"].to_list() == [
        "The old clock, stopped at noon, was …",
        "A boat needs paint …",
    ]
    assert len(set(generate_title_questions(posts))) == 2
