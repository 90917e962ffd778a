from __future__ import annotations

import pytest

from twin_assets.instructions.answer_passages import find_passages, missing_passage_reason

SENTENCE = "The tide came in over the flats while nobody was looking at the clock. "
LONG = (SENTENCE * 5).strip()  # 70 words
SHORT = SENTENCE.strip()  # 14 words


def spans(text: str) -> list[str]:
    return [text[passage.start : passage.end] for passage in find_passages(text)]


def test_a_paragraph_of_the_right_length_is_a_passage() -> None:
    text = f"# Tides\n\n{LONG}\n\nShort one.\n"
    (passage,) = find_passages(text)
    assert text[passage.start : passage.end] == LONG
    assert (passage.words, passage.heading) == (70, "Tides")


def test_short_paragraphs_are_joined_until_they_are_long_enough() -> None:
    text = "\n\n".join([SHORT] * 10)
    assert spans(text) == ["\n\n".join([SHORT] * 5)] * 2
    # Three are enough where nothing more follows; the second takes none of a long neighbour.
    assert spans("\n\n".join([SHORT] * 8))[1] == "\n\n".join([SHORT] * 3)
    assert spans("\n\n".join([SHORT] * 3 + [LONG + " " + LONG])) == [
        "\n\n".join([SHORT] * 3),
        LONG + " " + LONG,
    ]


def test_paragraphs_that_are_too_long_or_too_few_are_no_answers() -> None:
    assert spans((SENTENCE * 12).strip()) == []
    assert spans("\n\n".join([SHORT] * 2 + ["> " + LONG] + [SHORT])) == []


def test_a_list_with_a_quotation_in_it_is_in_no_passage() -> None:
    quoting = f"- {SHORT}\n- He said:\n  > {LONG}\n- {SHORT}"
    assert spans(f"{LONG}\n\n{quoting}\n\n{LONG}") == [LONG, LONG]
    assert spans(quoting) == []
    plain = quoting.replace("> ", "")
    assert spans(f"{SHORT}\n\n{SHORT}\n\n{plain}")


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
    assert spans(post) == [post]
    assert spans(f"# A title\n\n{post}\n\n![picture](a.png)\n") == [post]
    (passage,) = find_passages(f"# A title\n\n{post}\n")
    assert passage.heading == "A title"
    assert missing_passage_reason(post) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("```c\nint x;\n```\n\n> " + LONG, "no_prose"),
        ("", "no_prose"),
        (" ".join(f"[{number}](https://example.org/{number})" for number in range(60)), "no_prose"),
        ("Nothing much to say today.", "too_short"),
        (f"{SHORT}\n\n> {LONG}\n\n{SHORT}", "too_short"),
        ((SENTENCE * 12).strip(), "long_paragraphs"),
        ("\n\n".join([SHORT, "## One", SHORT, "## Two", SHORT, "## Three", SHORT]), "scattered"),
        (LONG, ""),
    ],
)
def test_a_text_without_a_passage_has_a_reason(text: str, reason: str) -> None:
    assert missing_passage_reason(text) == reason
    assert bool(find_passages(text)) == (reason == "")


def test_a_passage_does_not_cross_a_heading() -> None:
    text = f"{SHORT}\n\n{SHORT}\n\n## Next\n\n{SHORT}\n\n{SHORT}\n"
    assert spans(text) == []
    three = f"{SHORT}\n\n## Next\n\n{LONG}"
    assert [passage.heading for passage in find_passages(three)] == ["Next"]


def test_code_may_be_inside() -> None:
    text = f"{SHORT}\n\n{SHORT} Like this:\n\n```c\nint x;\n```\n\n{SHORT}\n"
    assert spans(text) == [text.strip()]


def test_a_paragraph_that_leads_on_is_not_cut_there() -> None:
    text = f"{LONG} It looks so:\n\n```c\nint x;\n```\n\n{LONG}\n"
    first, second = spans(text)
    assert first.endswith("```")
    assert second == LONG


def test_a_passage_that_is_mostly_code_is_no_answer() -> None:
    code = "\n".join(f"int value_{number} = compute({number});" for number in range(40))
    assert spans(f"{SHORT}\n\n{SHORT} So:\n\n```c\n{code}\n```\n\n{SHORT}\n") == []


@pytest.mark.parametrize(
    "block",
    [
        "> " + SHORT,
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "<div>\n" + SHORT + "\n</div>",
        "---",
        "*Updated: see below.*",
    ],
    ids=["quotation", "table", "html", "rule", "aside"],
)
def test_passages_exclude_other_blocks(block: str) -> None:
    text = f"{SHORT}\n\n{SHORT}\n\n{block}\n\n{SHORT}\n\n{SHORT}\n"
    assert spans(text) == []
    text = f"{LONG}\n\n{block}\n\n{LONG}\n"
    assert spans(text) == [LONG, LONG]


def test_a_list_belongs_to_the_paragraph_that_leads_to_it() -> None:
    items = "\n".join(f"- {SHORT}" for _ in range(3))
    text = f"There are three of them:\n\n{items}\n"
    assert spans(text) == [text.strip()]


def test_links_and_formulas_are_no_prose() -> None:
    links = " ".join(f"[{number}](https://example.org/{number})" for number in range(60))
    assert spans(links) == []
    assert spans("x = y + 1 * 2 / 3 - 4, " * 12) == []


def test_addresses_and_markup_are_not_counted_as_words() -> None:
    text = LONG.replace("tide", "**[tide](https://example.org/a-very-long/address)**")
    (passage,) = find_passages(text)
    assert passage.words == 70
    assert "example.org" not in passage.plain_text


def test_offsets_hold_with_hard_wraps_and_odd_spaces() -> None:
    wrapped = SENTENCE.replace("over ", "over\n") * 5
    text = f"  \n\nIntro é 李.\n\n{wrapped.strip()}\n\n\n"
    (span,) = spans(text)
    assert span in text
    assert span.startswith("Intro")
    assert span.endswith("clock.")
