"""Test that chunks have exact offsets, respect the token limit and lose no text."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.knowledge.small_tokenizer import build_small_tokenizer
from twin_assets.knowledge.chunking import (
    CHUNK_TOKENS,
    DOCUMENT_COLUMNS,
    TITLE_LIMIT_DIVISOR,
    Chunk,
    chunk_columns,
    chunk_documents,
    cut_text,
    indexed_text,
    limit_to_chunk_tokens,
    measure_chunk_lengths,
    shorten_title,
)

SENTENCE = "The clock went to the workshop on day one, and it didn't come back unchanged."


def check_chunks(text: str, *, token_limit: int, title: str = "") -> list[Chunk]:
    """Check that chunks are exact, complete, in order, and within the limit with their heading."""
    tokenizer = build_small_tokenizer(token_limit=token_limit)
    heading = shorten_title(title, tokenizer)
    chunks = cut_text(text, tokenizer, heading=heading)
    position = 0
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        assert tokenizer.count_tokens([chunk.text]) == [chunk.token_count]
        assert chunk.token_count <= token_limit
        assert tokenizer.count_tokens([indexed_text(heading, chunk.text)])[0] <= token_limit
        assert not text[position : chunk.start].strip(), "words between two chunks"
        assert chunk.start >= position
        position = chunk.end
    assert not text[position:].strip(), "words after the last chunk"
    return chunks


odd_text = st.text(
    alphabet=st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("ab .,!?\n\n\n`#-|*中文。한글\u0301\u200d👩‍🚀 \t"),
    ),
    max_size=1500,
)
long_words = st.lists(st.text("abcxyz/_=+é", min_size=1, max_size=400), max_size=8).map(" ".join)
markdown = st.lists(
    st.sampled_from(
        [
            SENTENCE,
            f"{SENTENCE} {SENTENCE} {SENTENCE}",
            "# A heading",
            "- a point\n- another point\n- a third one",
            "```python\ndef main(argument):\n    return argument\n\n\nmain(1)\n```",
            "```\n" + "x = 1\n" * 80 + "```",
            "```\nnever closed",
            "時計は水の中で動かない。" * 12,
            "| a | b |\n| --- | --- |\n" + "| 1 | 2 |\n" * 30,
        ]
    ),
    max_size=10,
).map("\n\n".join)


@settings(deadline=None, max_examples=150)
@given(
    text=st.one_of(odd_text, long_words, markdown),
    title=st.one_of(st.just(""), odd_text, long_words),
    token_limit=st.sampled_from([32, 64, 256]),
)
@example(text="a" * 5000, title="", token_limit=32)
@example(text="\u0301" * 3000, title="", token_limit=32)
@example(text="中" * 3000, title="中" * 300, token_limit=64)
@example(text="ﷺ" * 300, title="ﷺ" * 300, token_limit=32)
@example(text="👩‍🚀" * 400, title="👩‍🚀" * 400, token_limit=32)
@example(text="", title="A title", token_limit=32)
@example(text="\n \n\t\n", title="A title", token_limit=32)
@example(text=f"{SENTENCE} {SENTENCE}", title="a" * 5000, token_limit=32)
def test_any_text_is_chunked_exactly_and_completely(
    text: str, title: str, token_limit: int
) -> None:
    check_chunks(text, token_limit=token_limit, title=title)


@settings(deadline=None, max_examples=100)
@given(title=st.one_of(odd_text, long_words), token_limit=st.sampled_from([32, 64, 256]))
@example(title="a" * 5000, token_limit=32)
@example(title="\u0301" * 3000, token_limit=32)
def test_a_title_takes_at_most_a_quarter_of_the_limit(title: str, token_limit: int) -> None:
    tokenizer = build_small_tokenizer(token_limit=token_limit)
    short_title, line = shorten_title(title, tokenizer), " ".join(title.split())
    special_count = tokenizer.count_tokens([""])[0]
    assert (
        tokenizer.count_tokens([short_title])[0] - special_count
        <= token_limit // TITLE_LIMIT_DIVISOR
    )
    assert line.startswith(short_title)
    if short_title != line:
        assert short_title or not line
        assert line[len(short_title)] == " " or " " not in short_title


def test_only_long_titles_are_shortened() -> None:
    tokenizer = build_small_tokenizer(token_limit=64)
    assert shorten_title("  On carrying\n a clock ", tokenizer) == "On carrying a clock"
    short_title = shorten_title(f"{SENTENCE} " * 40, tokenizer)
    assert 0 < tokenizer.count_tokens([short_title])[0] - 2 <= 16
    assert f"{SENTENCE} {SENTENCE}".startswith(short_title)
    assert len(cut_text(SENTENCE, tokenizer, heading=short_title)) == 1


def test_a_short_text_is_one_chunk() -> None:
    text = f"# A heading\n\n{SENTENCE}\n\n- one\n- two"
    assert [chunk.text for chunk in check_chunks(text, token_limit=256)] == [text]


def test_chunks_contain_complete_paragraphs() -> None:
    text = "\n\n".join([SENTENCE] * 12)
    chunks = check_chunks(text, token_limit=64)
    sentence_token_count = build_small_tokenizer().count_tokens([SENTENCE])[0] - 2
    assert all(
        chunk.text.split("\n\n") == [SENTENCE] * ((64 - 2) // sentence_token_count)
        for chunk in chunks[:-1]
    )


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    chunks = check_chunks(" ".join([SENTENCE] * 12), token_limit=64)
    assert len(chunks) > 1
    assert all(chunk.text.startswith("The ") and chunk.text.endswith(".") for chunk in chunks)


def test_sentences_without_spaces_are_cut_at_their_marks() -> None:
    chunks = check_chunks("時計は水の中で動かない。" * 40, token_limit=64)
    assert all(chunk.text.endswith("。") for chunk in chunks)


def test_a_code_block_within_the_limit_is_not_split() -> None:
    code = "```python\ndef main(argument):\n\n    return argument\n```"
    text = "\n\n".join([SENTENCE, SENTENCE, code, SENTENCE, SENTENCE, code])
    assert sum(code in chunk.text for chunk in check_chunks(text, token_limit=64)) == 2


def test_a_code_block_that_does_not_fit_is_cut_between_lines() -> None:
    text = "```\n" + "\n".join(f"value_{n} = {n}" for n in range(60)) + "\n```"
    lines = [
        line for chunk in check_chunks(text, token_limit=64) for line in chunk.text.split("\n")
    ]
    assert lines == text.split("\n")


def test_a_heading_stays_with_the_following_block() -> None:
    text = "\n\n".join([SENTENCE, SENTENCE, "## A heading", SENTENCE])
    for chunk in check_chunks(text, token_limit=64):
        assert not chunk.text.endswith("heading")


def test_combining_characters_are_not_separated() -> None:
    for chunk in check_chunks("e\u0301" * 400, token_limit=32):
        assert not chunk.text.startswith("\u0301")


def test_chunks_are_smaller_than_the_embedders_limit() -> None:
    large, small = build_small_tokenizer(token_limit=256), build_small_tokenizer(token_limit=64)
    assert limit_to_chunk_tokens(small) == small
    chunk_tokenizer = limit_to_chunk_tokens(large)
    assert (chunk_tokenizer.token_limit, chunk_tokenizer.revision) == (CHUNK_TOKENS, large.revision)
    frame = chunk_documents(make_documents("\n\n".join([SENTENCE] * 40)), chunk_tokenizer)
    assert CHUNK_TOKENS / 2 < max(frame["token_count"]) <= CHUNK_TOKENS
    assert measure_chunk_lengths([frame], chunk_tokenizer)["too_long"] == 0
    uncut = chunk_documents(make_documents("\n\n".join([SENTENCE] * 40)), large)
    assert measure_chunk_lengths([uncut], chunk_tokenizer)["too_long"] > 0


def test_a_limit_too_small_to_cut_to_is_refused() -> None:
    with pytest.raises(ValueError, match="the minimum of 32"):
        cut_text("text", build_small_tokenizer(token_limit=16))


def make_documents(*texts: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "document_id": [f"d{n}" for n in range(len(texts))],
            "title": "T",
            "url": "",
            "published_at": None,
            "text": texts,
            "kept": [bool(text) for text in texts],
        },
        schema_overrides={"published_at": pl.Datetime("us", "UTC")},
    ).select(DOCUMENT_COLUMNS)


def test_rows_have_document_and_position() -> None:
    frame = chunk_documents(
        make_documents("\n\n".join([SENTENCE] * 9), "", SENTENCE), build_small_tokenizer()
    )
    assert dict(frame.schema) == dict(chunk_columns())
    assert frame["document_id"].unique(maintain_order=True).to_list() == ["d0", "d2"]
    assert frame.filter(document_id="d0")["position"].to_list() == [0, 1, 2]
    assert frame["chunk_id"].is_unique().all()
    assert set(frame["heading"]) == {"T"}


def test_an_edit_keeps_the_ids_of_the_other_chunks() -> None:
    paragraphs = [f"{SENTENCE} Number {word}. " * 2 for word in ("one", "two", "three")]
    before = chunk_documents(make_documents("\n\n".join(paragraphs)), build_small_tokenizer())
    paragraphs[0] = paragraphs[0].replace("clock", "boat")
    after = chunk_documents(make_documents("\n\n".join(paragraphs)), build_small_tokenizer())
    assert before["chunk_id"].to_list()[1:] == after["chunk_id"].to_list()[1:]
    assert before["chunk_id"][0] != after["chunk_id"][0]


def test_another_title_keeps_the_chunk_ids() -> None:
    before = chunk_documents(make_documents(SENTENCE), build_small_tokenizer())
    after = chunk_documents(
        make_documents(SENTENCE).with_columns(title=pl.lit("Another")), build_small_tokenizer()
    )
    assert before["chunk_id"].to_list() == after["chunk_id"].to_list()
    assert after["heading"].to_list() == ["Another"]


def test_overlong_and_miscounted_chunks_are_measured() -> None:
    tokenizer = build_small_tokenizer()
    chunks = chunk_documents(make_documents("\n\n".join([SENTENCE] * 9)), tokenizer)
    lengths = measure_chunk_lengths([chunks.clear(), chunks[:1], chunks[1:]], tokenizer)
    assert (lengths["too_long"], lengths["miscounted"], lengths["counted_again"]) == (0, 0, 3)
    longest = max(chunks["token_count"].to_list())
    assert lengths["longest"] == longest + 1, "the title's token was not counted"
    filled = chunks.with_columns(pl.lit("T " * (64 - longest + 1)).alias("heading"))
    assert measure_chunk_lengths([filled], tokenizer)["too_long"] == 3, (
        "a title made a chunk too long, unnoticed"
    )
    long = chunks.with_columns(pl.lit(" ".join([SENTENCE] * 6)).alias("text"))
    assert measure_chunk_lengths([long], tokenizer)["too_long"] == 3
    wrong = chunks.with_columns(pl.lit(1, pl.Int64).alias("token_count"))
    assert measure_chunk_lengths([wrong], tokenizer)["miscounted"] == 3
    # The text fits, but the stored count exceeds the limit.
    overcounted = chunks[:1].with_columns(pl.lit(65, pl.Int64).alias("token_count"))
    assert measure_chunk_lengths([overcounted], tokenizer)["too_long"] == 1
    assert measure_chunk_lengths([chunks.clear()], tokenizer)["longest"] == 0
