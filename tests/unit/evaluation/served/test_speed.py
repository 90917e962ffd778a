"""Tokens a second and seconds a reply."""

from __future__ import annotations

import pytest

from twin_assets.evaluation.served.speed import TimedReply, lines, measure_speed
from twin_resources.errors import TwinError


def test_two_requests_at_once_are_twice_as_fast_together_as_one_reply() -> None:
    replies = [TimedReply(tokens=40, seconds=0.5)] * 20

    found = measure_speed(replies, wall_s=5.0, at_once=2)

    assert (found.replies, found.tokens) == (20, 800)
    assert found.tokens_per_s == pytest.approx(160)
    assert found.reply_tokens_per_s.value == pytest.approx(80)
    assert found.reply_s.value == pytest.approx(0.5)
    assert found.reply_s.high == pytest.approx(0.5)
    assert "2 requests at once: 160 tokens/s" in lines(found)[0]


def test_uneven_replies_have_a_wide_interval_and_a_slow_tail() -> None:
    replies = [TimedReply(40, 0.5)] * 15 + [TimedReply(40, 4.0)] * 5

    found = measure_speed(replies, wall_s=30.0, at_once=1)

    assert found.reply_s.low < found.reply_s.value < found.reply_s.high
    assert found.reply_s.value == pytest.approx(1.375)
    assert found.slowest_s == pytest.approx(4.0)


def test_empty_replies_are_left_out_and_nothing_but_them_is_refused() -> None:
    mixed = [TimedReply(0, 0.1), TimedReply(10, 1.0), TimedReply(10, 1.0)]

    assert measure_speed(mixed, wall_s=2.1, at_once=1).replies == 2
    with pytest.raises(TwinError, match="0 of 1 replies"):
        measure_speed([TimedReply(0, 0.1)], wall_s=1.0, at_once=1)
