"""What may be quoted: prose, with its exact place, and nobody else's words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twin_resources.models.quotes.windows import MOST_SENTENCES, embedded_text, windows_of


def quoted(text: str, **options: str) -> list[str]:
    return [text[window.start : window.end] for window in windows_of(text, **options)]


def test_a_window_begins_at_each_sentence_and_holds_three() -> None:
    text = "The oil dries first. Then the pivots wear. Then it stops. Nobody oils it in time."
    assert quoted(text) == [
        "The oil dries first. Then the pivots wear. Then it stops.",
        "Then the pivots wear. Then it stops. Nobody oils it in time.",
    ]


def test_paragraphs_of_prose_are_one_run() -> None:
    text = "One sentence stands here.\n\nAnother stands below it.\nA third beside it."
    assert quoted(text) == [text]


def test_no_window_reaches_over_what_is_not_prose() -> None:
    between = ("# A heading", "```\nx = 1. y = 2.\n```", "| a | b |\n|---|---|\n| c. | d. |", "---")
    for block in between:
        text = f"Before it stands a sentence.\n\n{block}\n\nAfter it stands another."
        assert quoted(text) == ["Before it stands a sentence.", "After it stands another."]


def test_quotations_of_others_and_pictures_are_not_quoted() -> None:
    theirs = "> He said that clocks are toys. I wrote it down."
    text = f"{theirs}\n\n![A clock.](clock.png)\n\nI disagree with him entirely."
    assert quoted(text) == ["I disagree with him entirely."]


def test_items_of_a_list_come_without_their_marker() -> None:
    text = "- Wind it on a Sunday evening.\n- Never move the hands back.\n"
    assert quoted(text) == ["Wind it on a Sunday evening.\n- Never move the hands back."]
    assert quoted("3. Take the pendulum off before you carry it.") == [
        "Take the pendulum off before you carry it."
    ]


def test_abbreviations_end_no_sentence() -> None:
    text = "Mr. Graham made it in 1720, e.g. for a church. It still goes today."
    (window,) = windows_of(text)
    assert [text[start:end] for start, end in window.sentences] == [
        "Mr. Graham made it in 1720, e.g. for a church.",
        "It still goes today.",
    ]


def test_other_scripts_have_sentences_too() -> None:
    text = "時計は静かに動いています。油は八年で乾きます。その後に軸が減ります。"
    (window,) = windows_of(text, language="ja")
    assert len(window.sentences) == 3


def test_what_is_too_short_answers_nobody() -> None:
    assert quoted("So eight.") == []
    assert quoted("") == []


def test_the_embedded_text_names_the_post_and_no_address() -> None:
    said = embedded_text("On oil", "See [the oil can](https://example.org/a_(b)) there.")
    assert said == "On oil\nSee the oil can there."


SENTENCE = st.text(alphabet="abc äß1é😀,'“”*_[]()#>|`~-", min_size=1, max_size=40)
BLOCKS = st.lists(st.lists(SENTENCE, min_size=1, max_size=4).map(". ".join), max_size=6)


@given(BLOCKS.map("\n\n".join))
def test_places_are_exact_whatever_stands_there(text: str) -> None:
    windows = windows_of(text)
    for window in windows:
        assert 1 <= len(window.sentences) <= MOST_SENTENCES
        assert window.start == window.sentences[0][0]
        assert window.end == window.sentences[-1][1]
        assert 0 <= window.start < window.end <= len(text)
        assert not text[window.start].isspace()
        assert not text[window.end - 1].isspace()
        for (_, end), (start, _) in zip(window.sentences, window.sentences[1:], strict=False):
            assert end <= start
    assert len({window.start for window in windows}) == len(windows)
