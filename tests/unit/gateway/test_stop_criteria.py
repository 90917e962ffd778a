"""Answers end at a sentence and before a loop, whole and as a stream of any chunks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_resources.gateway.exchange.stop_criteria import (
    ELLIPSIS,
    ProseTruncator,
    last_sentence_end,
    truncate_answer,
)

PROSE = (
    "The clock hung on the wall for two weeks. I listened to it every morning, before the kettle. "
    "On the ninth day it lost a minute, and I took it down. A bent tooth ticks as well as a "
    "straight one, Mr. Hale used to say; he was right. Then I filed the tooth."
)
sentences = st.lists(
    st.lists(st.integers(0, 5000).map(lambda number: f"w{number}"), min_size=4, max_size=12).map(
        lambda words: " ".join(words).capitalize() + "."
    ),
    max_size=12,
    unique=True,
).map(" ".join)
cuts = st.lists(st.integers(1, 17), min_size=1, max_size=60)


def streamed(
    text: str, sizes: list[int], *, cut_off: bool, limit: int = 10_000
) -> tuple[str, ProseTruncator]:
    ending, parts, position, number = ProseTruncator(limit=limit), [], 0, 0
    while position < len(text):
        size = sizes[number % len(sizes)]
        parts.append(ending.feed(text[position : position + size]))
        position, number = position + size, number + 1
    return "".join([*parts, ending.finish(cut_off=cut_off)]), ending


@settings(deadline=None)
@given(text=st.one_of(sentences, st.text(max_size=300)), sizes=cuts, limit=st.integers(0, 400))
def test_a_text_that_ends_by_itself_is_shown_as_it_is(
    text: str, sizes: list[int], limit: int
) -> None:
    shown, ending = streamed(text, sizes, cut_off=False, limit=limit)
    if not ending.is_looping:
        assert shown == text
        assert truncate_answer(text, cut_off=False).text == text


@settings(deadline=None)
@given(text=sentences, tail=st.sampled_from(["and then the", "An unfinished", "x"]), sizes=cuts)
def test_near_its_limit_a_stream_ends_with_a_whole_sentence(
    text: str, tail: str, sizes: list[int]
) -> None:
    cut = f"{text} {tail}".strip()
    shown, _ = streamed(cut, sizes, cut_off=True, limit=0)
    assert shown == truncate_answer(cut, cut_off=True).text
    assert shown == (text or f"{tail}{ELLIPSIS}")


@settings(deadline=None)
@given(text=st.text(max_size=300), sizes=cuts, cut_off=st.booleans(), limit=st.integers(0, 300))
def test_what_is_shown_is_a_beginning_of_the_text(
    text: str, sizes: list[int], cut_off: bool, limit: int
) -> None:
    shown, _ = streamed(text, sizes, cut_off=cut_off, limit=limit)
    closings = (ELLIPSIS, "\n```", "")
    assert any(
        shown.endswith(closing) and text.startswith(shown.removesuffix(closing))
        for closing in closings
    )


@settings(deadline=None)
@given(
    before=sentences,
    period=st.lists(
        st.sampled_from(["the", "clock", "on", "wall", "of", "a", "hall"]), min_size=1, max_size=30
    ),
    sizes=cuts,
)
def test_a_loop_of_any_period_ends_the_answer(
    before: str, period: list[str], sizes: list[int]
) -> None:
    once = " ".join(period)
    text = f"{before} {' '.join([once] * (200 // len(period) + 2))}".strip()
    shown, ending = streamed(text, sizes, cut_off=True)
    assert ending.is_looping
    assert shown.startswith(before)
    assert len(shown) <= len(before) + 2 * len(once) + 100
    whole = truncate_answer(text, cut_off=False)
    assert whole.is_looping
    if before:
        assert whole.text == before


def test_a_sentence_that_loops_is_told_once() -> None:
    loop = "The clock is a machine that tells the time of the day. "
    for sizes in ([1], [5], [3, 40], [2000]):
        shown, ending = streamed(f"{PROSE} {loop * 9}", sizes, cut_off=True)
        assert ending.is_looping
        assert shown == f"{PROSE} {loop.strip()}"


def test_a_sentence_that_comes_back_a_third_time_is_a_loop() -> None:
    back = "I listened to it every morning, before the kettle."
    others = [" ".join(f"{word}{turn}" for word in ("one", "two", "six")) for turn in "abcd"]
    text = " ".join(f"{back} {other.capitalize()}." for other in others)
    whole = truncate_answer(text, cut_off=False)
    assert whole.is_looping
    assert whole.text.count(back) == 2
    assert whole.text.endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "Location, location, location. No, no, no, no!",
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was "
        "the age of foolishness, it was the epoch of belief, it was the epoch of incredulity.",
        "- Fill the tank.\n- Empty the tank.\n- Fill the tank.\n- Go home.",
        "```\n" + "x = 1\n" * 40 + "```\nSo it is.",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12.",
        PROSE,
    ],
)
def test_what_people_write_is_no_loop(text: str) -> None:
    assert truncate_answer(text, cut_off=False) == truncate_answer(text, cut_off=False)
    assert not truncate_answer(text, cut_off=False).is_looping
    assert truncate_answer(text, cut_off=False).text == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One. Two. Thr", "One. Two."),
        ('He said "no." And th', 'He said "no."'),
        ("I saw Dr. Hale and Mr. B. on the", ""),
        ("It costs 3.50 and no", ""),
        ("As I wrote:\n\n1. Fill it.\n2. Emp", "As I wrote:\n\n1. Fill it."),
        ("Tools:\n\n- a file\n- a vice\n- a ham", "Tools:\n\n- a file\n- a vice"),
        ("It ended.\n\n## The next par", "It ended."),
        ("It ended.\n\n## Heading\n\nHalf a", "It ended."),
        ("See:\n\n```\nx = f(1). \ny", ""),
        ("Done. See:\n\n```\nx = f(1).\ny", "Done."),
        ("時計は動く。水は", "時計は動く。"),
        ("Not yet", ""),
        ("", ""),
    ],
)
def test_the_last_sentence_is_found(text: str, kept: str) -> None:
    assert text[: last_sentence_end(text)] == kept


def test_what_was_begun_to_be_shown_is_marked() -> None:
    # Far from the limit by its own count, cut off all the same.
    shown, _ = streamed("It went well. And then the clock", [3], cut_off=True, limit=10_000)
    assert shown == f"It went well. And then the{ELLIPSIS}"
    shown, _ = streamed("Well:\n```\nx = 1\ny = 2", [3], cut_off=True, limit=10_000)
    assert shown.endswith("\n```")


def test_words_are_shown_as_they_come() -> None:
    ending, shown = ProseTruncator(limit=10_000), 0
    behind: list[int] = []
    for number, character in enumerate(PROSE, start=1):
        shown += len(ending.feed(character))
        behind.append(number - shown)
    assert max(behind) < 40, "a word, or some that might be a repetition"
    assert sum(behind) / len(behind) < 8


@pytest.mark.parametrize("text", ["ก" * 300, "🙂" * 300, "-" * 300, "a" * 300])
def test_text_without_words_is_shown_as_it_comes(text: str) -> None:
    ending, shown = ProseTruncator(limit=10_000), 0
    for number, character in enumerate(text, start=1):
        shown += len(ending.feed(character))
        assert number - shown <= 41
