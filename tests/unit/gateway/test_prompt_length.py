"""Test which turns of a conversation fit into a model's context."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twin_resources.gateway.request.prompt_length import (
    TURN_OVERHEAD_TOKENS,
    fit_history,
    token_counter,
)

PROMPT = [{"role": "user", "content": "one two three"}]


def count_words(text: str) -> int:
    return len(text.split())


@given(st.lists(st.text(alphabet="ab ", max_size=80), max_size=12), st.integers(0, 300))
def test_the_newest_turns_that_fit_are_kept_whole(contents: list[str], context: int) -> None:
    turns = [{"role": "user", "content": text} for text in contents]
    kept_turns, dropped_turns, answer_tokens = fit_history(
        turns, prompt=PROMPT, context_tokens=context, answer_tokens=50, count_tokens=count_words
    )
    assert list(kept_turns) == turns[dropped_turns:]
    prompt_tokens = 3 + TURN_OVERHEAD_TOKENS + 32
    assert 1 <= answer_tokens <= 50
    if context > prompt_tokens:
        assert prompt_tokens + answer_tokens <= context, "vLLM refuses such a request"
    fixed_tokens = prompt_tokens + answer_tokens

    def total_tokens(selected_turns: list[dict[str, str]]) -> int:
        return fixed_tokens + sum(
            count_words(turn["content"]) + TURN_OVERHEAD_TOKENS for turn in selected_turns
        )

    if kept_turns:
        assert total_tokens(list(kept_turns)) <= context
    if dropped_turns:  # One more turn would not fit, or is too long to be tokenized.
        one_more = turns[dropped_turns - 1 :]
        free_tokens = context - total_tokens(list(kept_turns)) - TURN_OVERHEAD_TOKENS
        assert total_tokens(one_more) > context or len(one_more[0]["content"]) > 16 * free_tokens


def test_a_very_long_turn_is_not_tokenized() -> None:
    def count_short_text(text: str) -> int:
        assert len(text) < 1000
        return count_words(text)

    long_turn = [{"role": "user", "content": "a" * 200_000}]
    kept_turns, dropped_turns, _ = fit_history(
        long_turn,
        prompt=PROMPT,
        context_tokens=4096,
        answer_tokens=50,
        count_tokens=count_short_text,
    )
    assert (len(kept_turns), dropped_turns) == (0, 1)


def test_without_a_tokenizer_tokens_are_overestimated() -> None:
    count = token_counter("")
    assert count("Wind a clock at the same hour every week.") >= 10
    assert count("夜" * 10) >= 10
