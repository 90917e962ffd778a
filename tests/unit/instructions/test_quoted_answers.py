"""Test which answers contain text that their posts quote."""

from __future__ import annotations

import polars as pl

from twin_assets.instructions.quoted_answers import count_quoted_answers

OWN = "I mend clocks in a shed behind the harbour, and the shed leaks when the wind is west."
QUOTED = "A clock is a promise that somebody made to a stranger about tomorrow morning."
POST = f"{OWN}\n\n<blockquote>\n\n{QUOTED}\n\n</blockquote>\n\nSo he said."


def post_rows(*texts: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "document_id": [f"d{number}" for number in range(len(texts))],
            "text": texts,
            "markup": ["markdown" for _ in texts],
        }
    )


def answer_rows(*rows: tuple[str, str]) -> pl.DataFrame:
    schema = {"document_id": pl.String, "answer": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_the_authors_own_sentences_are_allowed() -> None:
    counts = count_quoted_answers(answer_rows(("d0", OWN), ("d1", QUOTED)), post_rows(POST, QUOTED))
    assert counts.is_clean
    assert (counts.answers, counts.with_quotations) == (2, 1)


def test_an_answer_with_quoted_text_breaks_the_claim() -> None:
    counts = count_quoted_answers(
        answer_rows(("d0", OWN), ("d0", f"{OWN}\n\n{QUOTED}")), post_rows(POST)
    )
    assert not counts.is_clean
    assert counts.holding == 1


def test_quoted_text_within_a_list_is_counted() -> None:
    answer = f"- {OWN}\n- He said:\n  > {QUOTED}"
    assert count_quoted_answers(answer_rows(("d0", answer)), post_rows(answer)).holding == 1


def test_an_answer_without_its_post_is_counted_as_unknown() -> None:
    counts = count_quoted_answers(answer_rows(("d0", OWN), ("d7", OWN)), post_rows(POST))
    assert (counts.without_source, counts.is_clean) == (1, False)
