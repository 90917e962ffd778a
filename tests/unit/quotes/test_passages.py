"""Test splitting posts into quotable passages."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from twin_resources.models.quotes.passages import (
    MAX_WORDS,
    build_embedded_text,
    count_words,
    embedded_sentence_spans,
    split_into_passages,
)

SENTENCE = "This sentence about the oil of a clock has exactly thirteen words altogether."
PARAGRAPH = " ".join([SENTENCE] * 4)  # 52 words


def list_shown_texts(text: str, **options: str) -> list[str]:
    return [text[passage.start : passage.end] for passage in split_into_passages(text, **options)]


def list_searched_texts(text: str) -> list[str]:
    return [text[slice(*passage.searched_span)] for passage in split_into_passages(text)]


def test_a_paragraph_is_shown_whole() -> None:
    text = "The oil dries first. Then the pivots wear. Then it stops. Nobody oils it in time."
    assert list_shown_texts(text) == [text]


def test_short_paragraphs_are_combined() -> None:
    text = f"People call it a fault.\n\nIt is not a fault.\n\n{PARAGRAPH}\n\n{PARAGRAPH}"
    assert list_searched_texts(text) == [text[: -len(PARAGRAPH) - 2], PARAGRAPH]
    first, second = list_shown_texts(text)
    assert first == text
    assert second == text, "some of the 114 words are missing"
    assert count_words(text) <= MAX_WORDS


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    text = " ".join([SENTENCE] * 20)  # 260 words
    passages = split_into_passages(text)
    assert all(count_words(text[passage.start : passage.end]) <= MAX_WORDS for passage in passages)
    assert passages[0].start == 0
    assert passages[-1].end == len(text)
    for left, right in pairwise(passages):
        assert left.start < right.start <= left.end < right.end
    assert all(text[passage.start : passage.end].endswith(".") for passage in passages)


def test_passages_do_not_cross_other_elements() -> None:
    before = "Before it stands a sentence of eight words."
    after = "After it stands another one of as many words."
    blocks = ("# A heading", "| a | b |\n|---|---|\n| c. | d. |", "---", "![A clock.](clock.png)")
    for block in blocks:
        assert list_shown_texts(f"{before}\n\n{block}\n\n{after}") == [before, after]


def test_code_between_paragraphs_is_shown_but_not_searched() -> None:
    text = "Print the details of the commit without a pager:\n\n```bash\ngit --no-pager show\n```"
    (passage,) = split_into_passages(text)
    assert text[passage.start : passage.end] == text
    assert text[slice(*passage.searched_span)] == "Print the details of the commit without a pager:"
    long_code = "```\n" + "line\n" * 30 + "```"
    before = "It is a long listing that nobody reads."
    assert list_shown_texts(f"{before}\n\n{long_code}") == [before]
    assert list_shown_texts("```\nnothing = 'but code'\n```") == []


def test_long_code_between_long_paragraphs_is_not_quoted() -> None:
    prose = " ".join([SENTENCE] * 12)  # 156 words
    code = "```\n" + "clock.wind(days=8)  # then wait for a week\n" * 20 + "```"
    texts = list_shown_texts(f"{prose}\n\n{code}\n\n{prose}")
    assert texts
    assert not any("clock.wind" in text for text in texts)


def test_passages_do_not_begin_with_code_or_end_with_an_introduction() -> None:
    code = "```\nls\n```"
    long = " ".join([SENTENCE] * 8)  # 104 words
    assert list_shown_texts(f"{long} Type this:\n\n{code}\n\n{PARAGRAPH}")[-1] == PARAGRAPH
    assert list_shown_texts(f"{PARAGRAPH}\n\nThere are reasons:\n\n- {long}")[0] == PARAGRAPH


def test_quotations_of_others_are_not_quoted() -> None:
    foreign = "> He said that clocks are toys. I wrote it down."
    own = "I disagree with him entirely, and so should you."
    assert list_shown_texts(f"{foreign}\n\n{own}") == [own]
    assert list_shown_texts(f"- {own}\n- > He said so, and wrote it down for me.\n") == [own]


def test_list_items_lose_their_marker() -> None:
    text = "- Wind it on a Sunday evening.\n- Never move the hands back.\n"
    assert list_shown_texts(text) == ["Wind it on a Sunday evening.\n- Never move the hands back."]
    assert list_shown_texts("3. Take the pendulum off before you carry it.") == [
        "Take the pendulum off before you carry it."
    ]


def test_abbreviations_do_not_end_sentences() -> None:
    text = "Mr. Graham made it in 1720, e.g. for a church. It still goes today."
    (passage,) = split_into_passages(text)
    assert [text[start:end] for start, end in passage.sentences] == [
        "Mr. Graham made it in 1720, e.g. for a church.",
        "It still goes today.",
    ]


def test_other_scripts_are_supported() -> None:
    text = "時計は静かに動いています。油は八年で乾きます。その後に軸が減ります。"
    (passage,) = split_into_passages(text, language="ja")
    assert len(passage.sentences) == 3
    assert 10 < count_words(text) < 25
    many = split_into_passages(text * 12, language="ja")
    assert all(count_words((text * 12)[item.start : item.end]) <= MAX_WORDS for item in many)


def test_too_short_paragraphs_are_omitted() -> None:
    assert list_shown_texts("Update October 2025: further enhancements.") == []
    assert list_shown_texts("") == []


def test_the_embedded_text_has_the_title_but_no_links_or_code() -> None:
    result = build_embedded_text("On oil", "See [the oil can](https://example.org/a_(b)) there.")
    assert result == "On oil\nSee the oil can there."
    assert (
        build_embedded_text("", "Run it:\n\n```\nmake\n```\n\nThen wait.")
        == "Run it:\n\n \n\nThen wait."
    )


def test_sentences_have_positions_in_the_embedded_text() -> None:
    text = (
        "First [the oil](https://example.org/a). Then:\n\n```\nmake\n```\n\n"
        "Wait for *it*. And [see](b.md) it dry."
    )
    (passage,) = split_into_passages(text)
    embedded_text = build_embedded_text("On oil", text[slice(*passage.searched_span)])
    sentences = [
        embedded_text[start:end].strip()
        for start, end in embedded_sentence_spans("On oil", text, passage)
    ]
    assert sentences == ["First the oil.", "Then:", "Wait for *it*.", "And see it dry."]


SENTENCES = st.text(alphabet="abc äß1é😀,'“”*_[]()#>|`~-", min_size=1, max_size=40)
BLOCKS = st.lists(st.lists(SENTENCES, min_size=1, max_size=4).map(". ".join), max_size=6)


@given(BLOCKS.map("\n\n".join))
def test_offsets_are_exact(text: str) -> None:
    passages = split_into_passages(text)
    for passage in passages:
        searched_start, searched_end = passage.searched_span
        assert 0 <= passage.start <= searched_start < searched_end <= passage.end <= len(text)
        assert not text[passage.start].isspace()
        assert not text[passage.end - 1].isspace()
        assert searched_start == passage.sentences[0][0]
        assert searched_end == passage.sentences[-1][1]
        for (_, end), (start, _) in zip(passage.sentences, passage.sentences[1:], strict=False):
            assert end <= start
    assert len({passage.searched_span[0] for passage in passages}) == len(passages)
