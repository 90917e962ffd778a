"""Answers beside the quotations of their posts."""

from __future__ import annotations

import polars as pl

from twin_assets.instructions.quoted_answers import count_quoted_answers

OWN = "I mend clocks in a shed behind the harbour, and the shed leaks when the wind is west."
OTHER = "A clock is a promise that somebody made to a stranger about tomorrow morning."
POST = f"{OWN}\n\n<blockquote>\n\n{OTHER}\n\n</blockquote>\n\nSo he said."


def sources(*texts: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "document_id": [f"d{number}" for number in range(len(texts))],
            "text": texts,
            "markup": ["markdown" for _ in texts],
        }
    )


def answers(*said: tuple[str, str]) -> pl.DataFrame:
    schema = {"document_id": pl.String, "answer": pl.String}
    return pl.DataFrame(said, schema=schema, orient="row")


def test_the_authors_own_sentences_may_be_said() -> None:
    found = count_quoted_answers(answers(("d0", OWN), ("d1", OTHER)), sources(POST, OTHER))
    assert found.is_clean
    assert (found.answers, found.with_quotations) == (2, 1)


def test_an_answer_with_somebody_elses_words_breaks_it() -> None:
    found = count_quoted_answers(answers(("d0", OWN), ("d0", f"{OWN}\n\n{OTHER}")), sources(POST))
    assert not found.is_clean
    assert found.holding == 1


def test_a_mark_within_the_answer_does_not_help() -> None:
    listed = f"- {OWN}\n- He said:\n  > {OTHER}"
    assert count_quoted_answers(answers(("d0", listed)), sources(listed)).holding == 1


def test_an_answer_without_its_post_cannot_be_told() -> None:
    found = count_quoted_answers(answers(("d0", OWN), ("d7", OWN)), sources(POST))
    assert (found.without_source, found.is_clean) == (1, False)


def test_no_answers_hold_nothing() -> None:
    assert count_quoted_answers(answers(), sources(POST)).is_clean
