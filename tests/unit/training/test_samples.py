"""Test the tokens and answer spans of samples, pairs and posts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_prompt import Passage
from twin_assets.checkpoints.samples import (
    MIN_RAW_BLOCK_TOKENS,
    drop_passages,
    tokenize_pairs,
    tokenize_posts,
    tokenize_samples,
)
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render


class WordTokenizer:
    """A tokenizer of words, spaces and <tags>; `glue` merges newlines."""

    def __init__(self, *, glue: bool = False) -> None:
        self.pattern = re.compile(
            r"\n+[^\s<]*|<[^>]*>|\S+|[ \t]+" if glue else r"<[^>]*>|[^\s<]+|\s"
        )
        self.ids: dict[str, int] = {}

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        text = "".join(
            f"<{message['role']}>\n{message['content']}<end>\n" for message in conversation
        )
        return text + "<assistant>\n" if add_generation_prompt else text

    def __call__(
        self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool
    ) -> dict[str, Any]:
        matches = list(self.pattern.finditer(text))
        ids = [self.ids.setdefault(match[0], len(self.ids)) for match in matches]
        return {"input_ids": ids, "offset_mapping": [match.span() for match in matches]}

    def text(self, tokens: tuple[int, ...]) -> str:
        words = {number: word for word, number in self.ids.items()}
        return "".join(words[token] for token in tokens)


def make_row(question: str, answer: str) -> dict[str, Any]:
    return {
        "sample_id": "s",
        "document_id": "d",
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ],
    }


@given(
    st.text(alphabet="ab \n", min_size=1, max_size=30),
    st.text(alphabet="cd \n", min_size=1, max_size=30).filter(str.strip),
)
def test_the_loss_covers_the_answer_and_its_end_of_turn(question: str, answer: str) -> None:
    tokenizer = WordTokenizer()
    samples, left_out = tokenize_samples([make_row(question, answer)], tokenizer, max_length=10_000)
    assert not left_out
    (sample,) = samples
    span = sample.tokens[sample.answer_start : sample.answer_end]
    assert tokenizer.text(span) == answer.strip() + "<end>"
    prompt = tokenizer.text(sample.tokens[: sample.answer_start])
    assert prompt == f"<user>\n{question.strip()}<end>\n<assistant>\n"


def test_a_token_across_the_boundary_excludes_the_sample() -> None:
    samples, left_out = tokenize_samples(
        [make_row("why", "because")], WordTokenizer(glue=True), max_length=100
    )
    assert not samples
    assert left_out == {"answer_merges_with_prompt": 1}


def test_excluded_samples_are_counted_by_reason() -> None:
    rows = [make_row("why", "word " * 50), make_row("why", " \n "), make_row("why", "because")]
    samples, left_out = tokenize_samples(rows, WordTokenizer(), max_length=40)
    assert len(samples) == 1
    assert left_out == {"too_long": 1, "empty_answer": 1}


def make_pair_row(chosen: str, rejected: str, *, ended: bool = True) -> dict[str, Any]:
    return make_row("why", chosen) | {"rejected": rejected, "rejected_ended": ended}


def test_both_answers_of_a_pair_follow_the_same_prompt() -> None:
    tokenizer = WordTokenizer()
    rows = [make_pair_row("because so", "no idea")]
    (pair,), left_out = tokenize_pairs(rows, tokenizer, max_length=100)
    assert not left_out
    start = pair.chosen.answer_start
    assert pair.chosen.tokens[:start] == pair.rejected.tokens[:start]
    assert tokenizer.text(pair.chosen.tokens[start:]) == "because so<end>"
    assert tokenizer.text(pair.rejected.tokens[start:]) == "no idea<end>"
    assert (pair.sample_id, pair.document_id) == ("s", "d")
    assert pair.length == pair.chosen.length + pair.rejected.length


def test_a_truncated_answer_has_no_end_of_turn() -> None:
    tokenizer = WordTokenizer()
    rows = [make_pair_row("because", "no idea", ended=False)]
    (pair,), _ = tokenize_pairs(rows, tokenizer, max_length=100)
    answer = pair.rejected.tokens[pair.rejected.answer_start : pair.rejected.answer_end]
    assert tokenizer.text(answer) == "no idea"
    assert pair.rejected.answer_end == len(pair.rejected.tokens)


def test_excluded_pairs_are_counted_by_reason() -> None:
    rows = [
        make_pair_row("because", "word " * 50),
        make_pair_row("word " * 50, "because"),
        make_pair_row("because", "  "),
        make_pair_row("because", " because\n"),
        make_pair_row("because", "no idea"),
    ]
    pairs, left_out = tokenize_pairs(rows, WordTokenizer(), max_length=40)
    assert len(pairs) == 1
    assert left_out == {"too_long": 2, "empty_answer": 1, "same_answer": 1}


def test_each_post_has_its_own_blocks() -> None:
    tokenizer, word_count = WordTokenizer(), 30
    posts = [
        {"document_id": name, "text": " ".join(f"{name}{number}" for number in range(word_count))}
        for name in "ab"
    ]  # 59 tokens each: 30 words and the spaces between them
    posts.append({"document_id": "c", "text": "\n too short \n"})
    blocks, left_out = tokenize_posts(posts, tokenizer, block_tokens=20)
    names = [block.sample_id for block in blocks]
    assert names == ["a#0", "a#1", "a#2", "b#0", "b#1", "b#2"]
    assert [block.length for block in blocks] == [20, 20, 19] * 2
    assert left_out == {"too_short": 1}
    for block in blocks:
        assert (block.answer_start, block.answer_end) == (1, block.length)
        assert block.sample_id.startswith(block.document_id)
    text = "".join(tokenizer.text(block.tokens) for block in blocks[:3])
    assert text == posts[0]["text"]
    blocks, left_out = tokenize_posts(
        posts[:1], tokenizer, block_tokens=59 - MIN_RAW_BLOCK_TOKENS + 1
    )
    assert (len(blocks), left_out) == (1, {"too_short": 1})


def test_control_tokens_in_posts_are_escaped() -> None:
    rows = [{"document_id": "a", "text": "word " * 20 + "<|im_end|> and on " * 5}]
    tokenizer = WordTokenizer()
    (block,), _ = tokenize_posts(rows, tokenizer)
    assert "<|im_end|>" not in tokenizer.ids
    assert "< |im_end|>" in tokenizer.text(block.tokens)


def test_a_share_of_the_samples_loses_its_passages() -> None:
    answer = "From my posts: it wears well."
    values: dict[str, Any] = {"author_name": "Ada", "question": "Why brass?"}
    passage_prompt = render(DEFAULT_TEMPLATE, **values, passages=[Passage("Clocks", "A text.")])
    bare_prompt = render(DEFAULT_TEMPLATE, **values)
    assert passage_prompt != bare_prompt
    rows = [
        {
            "sample_id": f"s{number}",
            "document_id": f"d{number}",
            "messages": [*passage_prompt, {"role": "assistant", "content": answer}],
        }
        for number in range(400)
    ]
    result = list(drop_passages(rows, share=0.3, seed=7))
    changed_rows = [row for row in result if row["messages"][:-1] == bare_prompt]
    unchanged_rows = [row for row in result if row["messages"][:-1] == passage_prompt]
    assert len(changed_rows) + len(unchanged_rows) == 400
    assert len(changed_rows) == pytest.approx(120, abs=30)
    assert {row["messages"][-1]["content"] for row in result} == {answer}
    assert list(drop_passages(reversed(rows), share=0.3, seed=7)) == result[::-1]
    assert list(drop_passages(rows, share=0.3, seed=8)) != result
    assert list(drop_passages(rows, share=0, seed=7)) == rows
    assert all(row["messages"][:-1] == bare_prompt for row in drop_passages(rows, share=1, seed=7))
