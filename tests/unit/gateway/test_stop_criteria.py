"""Test that answers and streams end at a sentence and before a repetition."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_resources.gateway.exchange.stop_criteria import (
    ELLIPSIS,
    ProseTruncator,
    last_sentence_end,
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
sizes = st.lists(st.integers(1, 17), min_size=1, max_size=60)


def truncate_whole(text: str, *, cut_off: bool) -> tuple[str, ProseTruncator]:
    """Truncate a text that arrives as one piece, as an answer that is not streamed does."""
    return stream_text(text, [len(text) or 1], cut_off=cut_off, limit=0)


def stream_text(
    text: str, sizes: list[int], *, cut_off: bool, limit: int = 10_000
) -> tuple[str, ProseTruncator]:
    """Feed a text in pieces of these sizes, repeated, and return what is shown."""
    truncator, remaining, repeated_sizes = (
        ProseTruncator(limit=limit),
        io.StringIO(text),
        itertools.cycle(sizes),
    )
    pieces = iter(lambda: remaining.read(next(repeated_sizes)), "")
    shown = "".join(truncator.feed(piece) for piece in pieces)
    return shown + truncator.finish(cut_off=cut_off), truncator


@settings(deadline=None)
@given(text=st.one_of(sentences, st.text(max_size=300)), sizes=sizes, limit=st.integers(0, 400))
def test_a_complete_text_is_not_changed(text: str, sizes: list[int], limit: int) -> None:
    shown, truncator = stream_text(text, sizes, cut_off=False, limit=limit)
    if not truncator.is_looping:
        assert shown == text
        assert truncate_whole(text, cut_off=False)[0] == text


@settings(deadline=None)
@given(text=sentences, tail=st.sampled_from(["and then the", "An unfinished", "x"]), sizes=sizes)
def test_a_stream_that_reaches_its_limit_ends_with_a_whole_sentence(
    text: str, tail: str, sizes: list[int]
) -> None:
    unfinished = f"{text} {tail}".strip()
    shown, _ = stream_text(unfinished, sizes, cut_off=True, limit=0)
    assert shown == truncate_whole(unfinished, cut_off=True)[0]
    assert shown == (text or f"{tail}{ELLIPSIS}")


@settings(deadline=None)
@given(text=st.text(max_size=300), sizes=sizes, cut_off=st.booleans(), limit=st.integers(0, 300))
def test_the_shown_text_is_a_prefix_of_the_text(
    text: str, sizes: list[int], cut_off: bool, limit: int
) -> None:
    shown, _ = stream_text(text, sizes, cut_off=cut_off, limit=limit)
    closings = (ELLIPSIS, "\n```", "")
    assert any(
        shown.endswith(closing) and text.startswith(shown.removesuffix(closing))
        for closing in closings
    )


@settings(deadline=None)
@given(
    prefix=sentences,
    period=st.lists(
        st.sampled_from(["the", "clock", "on", "wall", "of", "a", "hall"]), min_size=1, max_size=30
    ),
    sizes=sizes,
)
def test_a_repetition_of_any_length_ends_the_answer(
    prefix: str, period: list[str], sizes: list[int]
) -> None:
    repetition = " ".join(period)
    text = f"{prefix} {' '.join([repetition] * (200 // len(period) + 2))}".strip()
    shown, truncator = stream_text(text, sizes, cut_off=True)
    assert truncator.is_looping
    assert shown.startswith(prefix)
    assert len(shown) <= len(prefix) + 2 * len(repetition) + 100
    shown, truncator = truncate_whole(text, cut_off=False)
    assert truncator.is_looping
    if prefix:
        assert shown == prefix


def test_a_third_occurrence_of_a_sentence_is_a_loop() -> None:
    repeated = "I listened to it every morning, before the kettle."
    others = [" ".join(f"{word}{turn}" for word in ("one", "two", "six")) for turn in "abcd"]
    text = " ".join(f"{repeated} {other.capitalize()}." for other in others)
    shown, truncator = truncate_whole(text, cut_off=False)
    assert truncator.is_looping
    assert shown.count(repeated) == 2
    assert shown.endswith(".")


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
def test_ordinary_repetition_is_not_a_loop(text: str) -> None:
    shown, truncator = truncate_whole(text, cut_off=False)
    assert (truncator.is_looping, shown) == (False, text)


@pytest.mark.parametrize(
    ("text", "expected"),
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
def test_the_end_of_the_last_sentence_is_found(text: str, expected: str) -> None:
    assert text[: last_sentence_end(text)] == expected


def test_a_partly_shown_sentence_gets_an_ellipsis() -> None:
    # The model stopped before the limit that the truncator expects.
    shown, _ = stream_text("It went well. And then the clock", [3], cut_off=True, limit=10_000)
    assert shown == f"It went well. And then the{ELLIPSIS}"
    shown, _ = stream_text("Well:\n```\nx = 1\ny = 2", [3], cut_off=True, limit=10_000)
    assert shown.endswith("\n```")


def test_words_are_shown_with_a_short_delay() -> None:
    truncator, shown = ProseTruncator(limit=10_000), 0
    delays: list[int] = []
    for number, character in enumerate(PROSE, start=1):
        shown += len(truncator.feed(character))
        delays.append(number - shown)
    assert max(delays) < 40, "at most a few words are delayed"
    assert sum(delays) / len(delays) < 8


@pytest.mark.parametrize("text", ["ก" * 300, "🙂" * 300, "-" * 300, "a" * 300])
def test_text_without_words_is_shown_with_a_short_delay(text: str) -> None:
    truncator, shown = ProseTruncator(limit=10_000), 0
    for number, character in enumerate(text, start=1):
        shown += len(truncator.feed(character))
        assert number - shown <= 41
