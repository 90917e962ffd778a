"""Test which passages of a post can be answers, and their offsets."""

from __future__ import annotations

import pytest

from twin_assets.instructions.answer_passages import find_missing_passage_reason, find_passages

SENTENCE = "The tide came in over the flats while nobody was looking at the clock. "
LONG = (SENTENCE * 5).strip()  # 70 words
SHORT = SENTENCE.strip()  # 14 words


def find_texts(text: str) -> list[str]:
    return [text[passage.start : passage.end] for passage in find_passages(text)]


def test_a_paragraph_of_the_right_length_is_a_passage() -> None:
    text = f"# Before\n\n{SHORT}\n\n# Tides\n\n{LONG}\n\nShort one.\n"
    (passage,) = find_passages(text)
    assert text[passage.start : passage.end] == LONG
    assert (passage.word_count, passage.heading) == (70, "Tides")


def test_short_paragraphs_are_joined_until_they_are_long_enough() -> None:
    text = "\n\n".join([SHORT] * 10)
    assert find_texts(text) == ["\n\n".join([SHORT] * 5)] * 2
    # Three are enough at the end, and before a long paragraph.
    assert find_texts("\n\n".join([SHORT] * 8))[1] == "\n\n".join([SHORT] * 3)
    assert find_texts("\n\n".join([SHORT] * 3 + [LONG + " " + LONG])) == [
        "\n\n".join([SHORT] * 3),
        LONG + " " + LONG,
    ]


def test_lists_with_quotations_are_excluded() -> None:
    quoting_list = f"- {SHORT}\n- He said:\n  > {LONG}\n- {SHORT}"
    assert find_texts(f"{LONG}\n\n{quoting_list}\n\n{LONG}") == [LONG, LONG]
    assert find_texts(quoting_list) == []
    plain_list = quoting_list.replace("> ", "")
    assert find_texts(f"{SHORT}\n\n{SHORT}\n\n{plain_list}")


@pytest.mark.parametrize(
    "post",
    [
        SHORT,
        "a toot without an end, about the tide and nobody who was there",
        "\n\n".join([SHORT] * 2),
        f"{SHORT}\n\n```c\nx;\n```\n\n- {SHORT}",
    ],
    ids=["sentence", "no full stop", "two paragraphs", "list and code"],
)
def test_a_short_post_is_one_passage(post: str) -> None:
    assert find_texts(post) == [post]
    assert find_texts(f"# A title\n\n{post}\n\n![picture](a.png)\n") == [post]
    (passage,) = find_passages(f"# A title\n\n{post}\n")
    assert passage.heading == "A title"
    assert find_missing_passage_reason(post) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("```c\nint x;\n```\n\n> " + LONG, "no_prose"),
        ("", "no_prose"),
        (" ".join(f"[{number}](https://example.org/{number})" for number in range(60)), "no_prose"),
        ("x = y + 1 * 2 / 3 - 4, " * 12, "no_prose"),
        ("Nothing much to say today.", "too_short"),
        (f"{SHORT}\n\n> {LONG}\n\n{SHORT}", "too_short"),
        ((SENTENCE * 12).strip(), "long_paragraphs"),
        ("\n\n".join([SHORT, "## One", SHORT, "## Two", SHORT, "## Three", SHORT]), "scattered"),
        (LONG, ""),
    ],
)
def test_a_text_without_a_passage_has_a_reason(text: str, reason: str) -> None:
    assert find_missing_passage_reason(text) == reason
    assert bool(find_passages(text)) == (reason == "")


def test_a_passage_may_contain_code() -> None:
    text = f"{SHORT}\n\n{SHORT} Like this:\n\n```c\nint x;\n```\n\n{SHORT}\n"
    assert find_texts(text) == [text.strip()]


def test_a_passage_includes_the_block_after_a_colon() -> None:
    text = f"{LONG} It looks so:\n\n```c\nint x;\n```\n\n{LONG}\n"
    first, second = find_texts(text)
    assert first.endswith("```")
    assert second == LONG


def test_mostly_code_is_not_a_passage() -> None:
    code = "\n".join(f"int value_{number} = compute({number});" for number in range(40))
    assert find_texts(f"{SHORT}\n\n{SHORT} So:\n\n```c\n{code}\n```\n\n{SHORT}\n") == []


@pytest.mark.parametrize(
    "block",
    [
        "> " + SHORT,
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "<div>\n" + SHORT + "\n</div>",
        "---",
        "*Updated: see below.*",
        "## Next",
    ],
    ids=["quotation", "table", "html", "rule", "aside", "heading"],
)
def test_passages_exclude_other_blocks(block: str) -> None:
    text = f"{SHORT}\n\n{SHORT}\n\n{block}\n\n{SHORT}\n\n{SHORT}\n"
    assert find_texts(text) == []
    text = f"{LONG}\n\n{block}\n\n{LONG}\n"
    assert find_texts(text) == [LONG, LONG]


def test_a_list_stays_with_its_introduction() -> None:
    items = "\n".join(f"- {SHORT}" for _ in range(3))
    text = f"There are three of them:\n\n{items}\n"
    assert find_texts(text) == [text.strip()]


def test_word_counts_exclude_addresses_and_markup() -> None:
    text = LONG.replace("tide", "**[tide](https://example.org/a-very-long/address)**")
    (passage,) = find_passages(text)
    assert passage.word_count == 70
    assert "example.org" not in passage.plain_text


def test_offsets_hold_with_hard_wraps_and_odd_spaces() -> None:
    wrapped = SENTENCE.replace("over ", "over\n") * 5
    text = f"  \n\nIntro é 李.\n\n{wrapped.strip()}\n\n\n"
    (span,) = find_texts(text)
    assert span in text
    assert span.startswith("Intro")
    assert span.endswith("clock.")
