"""The mask covers the answer and its end-of-turn token, and nothing else."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from twin_assets.checkpoints.samples import stripped, tokenize_pairs, tokenize_samples

WORDS = r"<[^>]*>|[^\s<]+|\s"


class Words:
    """A tokenizer of words, spaces and <tags>: enough to check offsets; `glue` merges newlines."""

    def __init__(self, *, glue: bool = False) -> None:
        self.pattern = re.compile(
            r"\n+[^\s<]*|<[^>]*>|\S+|[ \t]+" if glue else r"<[^>]*>|[^\s<]+|\s"
        )
        self.ids: dict[str, int] = {}

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        text = "".join(f"<{part['role']}>\n{part['content']}<end>\n" for part in conversation)
        return text + "<assistant>\n" if add_generation_prompt else text

    def __call__(
        self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool
    ) -> dict[str, Any]:
        found = list(self.pattern.finditer(text))
        ids = [self.ids.setdefault(match[0], len(self.ids)) for match in found]
        return {"input_ids": ids, "offset_mapping": [match.span() for match in found]}

    def text(self, tokens: tuple[int, ...]) -> str:
        words = {number: word for word, number in self.ids.items()}
        return "".join(words[token] for token in tokens)


def row(question: str, answer: str) -> dict[str, Any]:
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
def test_the_masked_span_is_the_stripped_answer_and_its_end_of_turn(
    question: str, answer: str
) -> None:
    tokenizer = Words()
    samples, left_out = tokenize_samples([row(question, answer)], tokenizer, max_length=10_000)
    assert not left_out
    (sample,) = samples
    span = sample.tokens[sample.answer_start : sample.answer_end]
    assert tokenizer.text(span) == answer.strip() + "<end>"
    prompt = tokenizer.text(sample.tokens[: sample.answer_start])
    assert prompt == f"<user>\n{question.strip()}<end>\n<assistant>\n"


def test_a_token_over_the_border_leaves_the_sample_out_and_counts_it() -> None:
    samples, left_out = tokenize_samples([row("why", "because")], Words(glue=True), max_length=100)
    assert not samples
    assert left_out == {"answer_merges_with_prompt": 1}


def test_long_and_empty_answers_are_counted_by_reason() -> None:
    rows = [row("why", "word " * 50), row("why", " \n "), row("why", "because")]
    samples, left_out = tokenize_samples(rows, Words(), max_length=40)
    assert len(samples) == 1
    assert left_out == {"too_long": 1, "empty_answer": 1}


def test_contents_are_stripped_and_roles_kept() -> None:
    messages = [{"role": "user", "content": "\n\nhello \n"}]
    assert stripped(messages) == [{"role": "user", "content": "hello"}]


def pair_row(chosen: str, rejected: str, *, ended: bool = True) -> dict[str, Any]:
    return row("why", chosen) | {"rejected": rejected, "rejected_ended": ended}


def test_both_answers_of_a_pair_follow_the_same_prompt() -> None:
    tokenizer = Words()
    rows = [pair_row("because so", "no idea")]
    (pair,), left_out = tokenize_pairs(rows, tokenizer, max_length=100)
    assert not left_out
    start = pair.chosen.answer_start
    assert pair.chosen.tokens[:start] == pair.rejected.tokens[:start]
    assert tokenizer.text(pair.chosen.tokens[start:]) == "because so<end>"
    assert tokenizer.text(pair.rejected.tokens[start:]) == "no idea<end>"
    assert (pair.sample_id, pair.document_id) == ("s", "d")
    assert pair.length == pair.chosen.length + pair.rejected.length


def test_an_answer_that_was_cut_off_has_no_end_of_turn() -> None:
    tokenizer = Words()
    rows = [pair_row("because", "no idea", ended=False)]
    (pair,), _ = tokenize_pairs(rows, tokenizer, max_length=100)
    said = pair.rejected.tokens[pair.rejected.answer_start : pair.rejected.answer_end]
    assert tokenizer.text(said) == "no idea"
    assert pair.rejected.answer_end == len(pair.rejected.tokens)


def test_pairs_that_cannot_be_trained_on_are_counted_by_reason() -> None:
    rows = [
        pair_row("because", "word " * 50),
        pair_row("word " * 50, "because"),
        pair_row("because", "  "),
        pair_row("because", " because\n"),
        pair_row("because", "no idea"),
    ]
    pairs, left_out = tokenize_pairs(rows, Words(), max_length=40)
    assert len(pairs) == 1
    assert left_out == {"too_long": 2, "empty_answer": 1, "same_answer": 1}
