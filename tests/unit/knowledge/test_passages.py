"""Test the passages of a post: their bounds, code, headings, and what is embedded."""

from __future__ import annotations

import itertools

import polars as pl
import pytest

from twin_assets.knowledge.passages import (
    MAX_CHARACTERS,
    MAX_OVERLAP,
    count_misquoted,
    count_unusable_vectors,
    embedded_text,
    split_into_passages,
)

SENTENCE = "The clock in the hall went to the workshop in spring, and nobody missed it. "
CODE = "\n".join(f"line {number} = compute({number})" for number in range(60))


def split(text: str) -> list[str]:
    passages = split_into_passages(text, language="en")
    rows = pl.DataFrame(
        [("d", item.start, item.end, text[item.start : item.end]) for item in passages],
        schema=["document_id", "start", "end", "text"],
        orient="row",
    )
    documents = pl.DataFrame({"document_id": ["d"], "text": [text]})
    assert not any(count_misquoted(rows, documents).values()), "text is lost or changed"
    return rows["text"].to_list()


def test_paragraphs_are_joined_up_to_the_limit_and_overlap() -> None:
    paragraphs = [f"Paragraph {number}. {SENTENCE * 2}".strip() for number in range(12)]
    passages = split("\n\n".join(paragraphs))
    assert len(passages) == 3
    for passage, following in itertools.pairwise(passages):
        assert MAX_CHARACTERS - MAX_OVERLAP < len(passage) <= MAX_CHARACTERS
        shared = set(passage.split("\n\n")) & set(following.split("\n\n"))
        assert [text for text in shared if len(text) > MAX_OVERLAP] == []
        assert len(shared) == 1
    assert split("One line.") == ["One line."]
    assert split("\n \n") == []


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("".join(f"{number}: {SENTENCE}" for number in range(30)), ". "),
        ("\n".join(f"- item {number} is made of oak" for number in range(80)), "\n"),
        ("word " * 600, " "),
        ("無" * 2_500, ""),
    ],
)
def test_a_long_paragraph_is_cut_at_sentences_lines_or_words(text: str, separator: str) -> None:
    passages = split(text)
    assert len(passages) > 1
    assert max(map(len, passages)) <= MAX_CHARACTERS
    for passage in passages[:-1]:
        end = text.index(passage) + len(passage)
        assert text[end - 1 : end + 1].endswith(separator[-1:] or text[end])


def test_a_heading_stays_with_what_follows_it() -> None:
    text = f"{SENTENCE * 12}\n\n## Oil\n\n{SENTENCE * 3}\n\n## Empty"
    passages = split(text)
    assert [("## Oil" in passage) for passage in passages] == [False, True]
    assert passages[1].startswith("## Oil\n\nThe clock")
    assert passages[1].endswith("## Empty")


def test_code_is_searched_and_shown_but_not_embedded() -> None:
    text = "Run [the tool](https://x.example/a_(b)) so:\n\n```py\nx = 1\n\ny = 2\n```\n\nThen wait."
    [passage] = split_into_passages(text)
    assert text[passage.start : passage.end] == text
    assert embedded_text("On tools", text, passage) == "On tools\nRun the tool so:\n\nThen wait."


def test_a_long_code_block_is_cut_at_lines_and_remembers_its_fence() -> None:
    text = f"## Code\n\n```py\n{CODE}\n```\n\nThat is all."
    split(text)
    first, second, *_ = split_into_passages(text)
    assert (first.fence, second.fence) == ("", "```py")
    assert text[second.start : second.end].startswith("line ")
    assert text[first.start : first.end].endswith(")")
    # A block without an end goes on to the last line.
    assert len(split_into_passages(f"```\n{CODE}")) > 1


def test_unusable_vectors_are_counted() -> None:
    rows = pl.DataFrame(
        {"embedder": ["r", "r", "old"], "vector": [[0.6, 0.8], [0.6, 0.9], [1.0, 0.0]]},
        schema_overrides={"vector": pl.Array(pl.Float32, 2)},
    )
    counts = count_unusable_vectors(rows, revision="r")
    assert counts == {"other_embedder": 1, "not_unit_length": 1}
