"""What may be quoted: whole paragraphs, with their exact place, and nobody else's words."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from twin_resources.models.quotes.passages import (
    MAX_WORDS,
    build_embedded_text,
    cut_into_passages,
    embedded_sentence_spans,
    word_count,
)

LONG = "This sentence about the oil of a clock has exactly twelve words altogether."  # 13
PARAGRAPH = " ".join([LONG] * 4)  # 52 words


def shown(text: str, **options: str) -> list[str]:
    return [text[passage.start : passage.end] for passage in cut_into_passages(text, **options)]


def searched(text: str) -> list[str]:
    return [text[slice(*passage.searched_span)] for passage in cut_into_passages(text)]


def test_a_paragraph_is_shown_whole() -> None:
    text = "The oil dries first. Then the pivots wear. Then it stops. Nobody oils it in time."
    assert shown(text) == [text]


def test_short_paragraphs_are_searched_together_and_shown_with_those_beside_them() -> None:
    text = f"People call it a fault.\n\nIt is not a fault.\n\n{PARAGRAPH}\n\n{PARAGRAPH}"
    assert searched(text) == [text[: -len(PARAGRAPH) - 2], PARAGRAPH]
    first, second = shown(text)
    assert first == text
    assert second == text, "of its 114 words none is left out"
    assert word_count(text) <= MAX_WORDS


def test_what_turns_the_meaning_in_the_next_paragraph_is_shown() -> None:
    text = f"{PARAGRAPH}\n\nBut never do it by hand."
    assert set(shown(text)) == {text}


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    text = " ".join([LONG] * 20)  # 260 words
    passages = cut_into_passages(text)
    assert all(word_count(text[passage.start : passage.end]) <= MAX_WORDS for passage in passages)
    assert passages[0].start == 0
    assert passages[-1].end == len(text)
    for one, other in pairwise(passages):
        assert one.start < other.start <= one.end < other.end
    assert all(text[passage.start : passage.end].endswith(".") for passage in passages)


def test_no_passage_reaches_over_what_is_not_prose() -> None:
    before = "Before it stands a sentence of eight words."
    after = "After it stands another one of as many words."
    between = ("# A heading", "| a | b |\n|---|---|\n| c. | d. |", "---", "![A clock.](clock.png)")
    for block in between:
        assert shown(f"{before}\n\n{block}\n\n{after}") == [before, after]


def test_code_between_paragraphs_is_shown_with_them_and_not_searched() -> None:
    text = "Print the details of the commit without a pager:\n\n```bash\ngit --no-pager show\n```"
    (passage,) = cut_into_passages(text)
    assert text[passage.start : passage.end] == text
    assert text[slice(*passage.searched_span)] == "Print the details of the commit without a pager:"
    long_code = "```\n" + "line\n" * 30 + "```"
    before = "It is a long listing that nobody reads."
    assert shown(f"{before}\n\n{long_code}") == [before]
    assert shown("```\nnothing = 'but code'\n```") == []


def test_no_passage_begins_with_code_or_ends_with_what_announces_the_next_one() -> None:
    code = "```\nls\n```"
    long = " ".join([LONG] * 8)  # 104 words
    assert shown(f"{long} Type this:\n\n{code}\n\n{PARAGRAPH}")[-1] == PARAGRAPH
    assert shown(f"{PARAGRAPH}\n\nThere are reasons:\n\n- {long}")[0] == PARAGRAPH


def test_quotations_of_others_are_not_quoted() -> None:
    theirs = "> He said that clocks are toys. I wrote it down."
    mine = "I disagree with him entirely, and so should you."
    assert shown(f"{theirs}\n\n{mine}") == [mine]
    assert shown(f"- {mine}\n- > He said so, and wrote it down for me.\n") == [mine]


def test_items_of_a_list_come_without_their_first_marker() -> None:
    text = "- Wind it on a Sunday evening.\n- Never move the hands back.\n"
    assert shown(text) == ["Wind it on a Sunday evening.\n- Never move the hands back."]
    assert shown("3. Take the pendulum off before you carry it.") == [
        "Take the pendulum off before you carry it."
    ]


def test_abbreviations_end_no_sentence() -> None:
    text = "Mr. Graham made it in 1720, e.g. for a church. It still goes today."
    (passage,) = cut_into_passages(text)
    assert [text[start:end] for start, end in passage.sentences] == [
        "Mr. Graham made it in 1720, e.g. for a church.",
        "It still goes today.",
    ]


def test_other_scripts_have_sentences_and_words_too() -> None:
    text = "時計は静かに動いています。油は八年で乾きます。その後に軸が減ります。"
    (passage,) = cut_into_passages(text, language="ja")
    assert len(passage.sentences) == 3
    assert 10 < word_count(text) < 25
    many = cut_into_passages(text * 12, language="ja")
    assert all(word_count((text * 12)[one.start : one.end]) <= MAX_WORDS for one in many)


def test_what_is_too_short_answers_nobody() -> None:
    assert shown("Update October 2025: further enhancements.") == []
    assert shown("") == []


def test_the_embedded_text_names_the_post_and_neither_address_nor_code() -> None:
    said = build_embedded_text("On oil", "See [the oil can](https://example.org/a_(b)) there.")
    assert said == "On oil\nSee the oil can there."
    assert (
        build_embedded_text("", "Run it:\n\n```\nmake\n```\n\nThen wait.")
        == "Run it:\n\n \n\nThen wait."
    )


def test_sentences_are_found_again_in_the_embedded_text() -> None:
    text = (
        "First [the oil](https://example.org/a). Then:\n\n```\nmake\n```\n\n"
        "Wait for *it*. And [see](b.md) it dry."
    )
    (passage,) = cut_into_passages(text)
    whole = build_embedded_text("On oil", text[slice(*passage.searched_span)])
    said = [
        whole[start:end].strip() for start, end in embedded_sentence_spans("On oil", text, passage)
    ]
    assert said == ["First the oil.", "Then:", "Wait for *it*.", "And see it dry."]


SENTENCE = st.text(alphabet="abc äß1é😀,'“”*_[]()#>|`~-", min_size=1, max_size=40)
BLOCKS = st.lists(st.lists(SENTENCE, min_size=1, max_size=4).map(". ".join), max_size=6)


@given(BLOCKS.map("\n\n".join))
def test_places_are_exact_whatever_stands_there(text: str) -> None:
    passages = cut_into_passages(text)
    for passage in passages:
        begin, stop = passage.searched_span
        assert 0 <= passage.start <= begin < stop <= passage.end <= len(text)
        assert not text[passage.start].isspace()
        assert not text[passage.end - 1].isspace()
        assert begin == passage.sentences[0][0]
        assert stop == passage.sentences[-1][1]
        for (_, end), (start, _) in zip(passage.sentences, passage.sentences[1:], strict=False):
            assert end <= start
    assert len({passage.searched_span[0] for passage in passages}) == len(passages)
