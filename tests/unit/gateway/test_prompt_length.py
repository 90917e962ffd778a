"""Which turns of a conversation fit into a model's context."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twin_resources.gateway.request.prompt_length import (
    TURN_OVERHEAD_TOKENS,
    fit_history,
    token_counter,
)

PROMPT = [{"role": "user", "content": "one two three"}]


def words(text: str) -> int:
    return len(text.split())


@given(st.lists(st.text(alphabet="ab ", max_size=80), max_size=12), st.integers(0, 300))
def test_the_newest_turns_that_fit_are_kept_whole(contents: list[str], context: int) -> None:
    turns = [{"role": "user", "content": text} for text in contents]
    kept, left_out = fit_history(
        turns, prompt=PROMPT, context_tokens=context, answer_tokens=50, count_tokens=words
    )
    assert list(kept) == turns[left_out:]
    used = 3 + TURN_OVERHEAD_TOKENS + 32 + min(50, context // 2)

    def with_turns(some: list[dict[str, str]]) -> int:
        return used + sum(words(turn["content"]) + TURN_OVERHEAD_TOKENS for turn in some)

    if kept:
        assert with_turns(list(kept)) <= context
    if left_out:  # one more would have been too many, or is longer than any token could make it
        more = turns[left_out - 1 :]
        left = context - with_turns(list(kept)) - TURN_OVERHEAD_TOKENS
        assert with_turns(more) > context or len(more[0]["content"]) > 16 * left


def test_a_giant_turn_is_not_even_counted() -> None:
    def refuse(text: str) -> int:
        assert len(text) < 1000
        return words(text)

    giant = [{"role": "user", "content": "a" * 200_000}]
    kept, left_out = fit_history(
        giant, prompt=PROMPT, context_tokens=4096, answer_tokens=50, count_tokens=refuse
    )
    assert (len(kept), left_out) == (0, 1)


def test_without_a_tokenizer_tokens_are_rather_counted_too_many() -> None:
    count = token_counter("")
    assert count("Wind a clock at the same hour every week.") >= 10
    assert count("夜" * 10) >= 10
