"""Tokenize samples and locate the answer in each.

Scope: rendering a sample's messages with the model's chat template and finding the tokens that
the loss covers. Out of scope: the prompt's wording (`prompt/templates.py` rendered it into the
messages), the order of samples (`batches.py`).
Method: the loss covers only the answer. The mask comes from character offsets in the rendered text,
not from tokenizing the parts separately. The masked part is therefore the prompt exactly as the
server receives it.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from twin_resources.prompt.control_marks import COMMON_MARKS, ControlMarks, extract_tokenizer_marks
from twin_resources.prompt.templates import strip_passages


class ChatTokenizer(Protocol):
    """The methods of a transformers tokenizer that this module uses."""

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any: ...

    def __call__(
        self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool
    ) -> Any: ...


@dataclass(frozen=True)
class TokenizedSample:
    """A tokenized sample.

    Attributes:
        tokens: prompt and answer, including the end-of-turn token.
        answer_start, answer_end: the loss covers `tokens[answer_start:answer_end]`.
    """

    sample_id: str
    document_id: str
    tokens: tuple[int, ...]
    answer_start: int
    answer_end: int

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def answer_tokens(self) -> int:
        return self.answer_end - self.answer_start


MAX_RAW_BLOCK_TOKENS = 512  # maximum number of tokens in a block of a raw post
MIN_RAW_BLOCK_TOKENS = 16


@dataclass(frozen=True)
class TokenizedPair:
    """Two answers to one prompt, with the same tokens before `answer_start`."""

    chosen: TokenizedSample
    rejected: TokenizedSample

    @property
    def sample_id(self) -> str:
        return self.chosen.sample_id

    @property
    def document_id(self) -> str:
        return self.chosen.document_id

    @property
    def length(self) -> int:
        return self.chosen.length + self.rejected.length


def tokenize_samples(
    rows: Iterable[Mapping[str, Any]], tokenizer: ChatTokenizer, *, max_length: int
) -> tuple[list[TokenizedSample], Counter[str]]:
    """Tokenize samples, and count unusable ones by reason.

    Args:
        rows: rows with `sample_id`, `document_id` and `messages` (the last one is the answer).

    Returns:
        The samples in the order of `rows`, and the number left out by reason: `too_long`,
        `answer_merges_with_prompt` (a token spans the boundary), `empty_answer`.
    """
    samples: list[TokenizedSample] = []
    excluded_counts: Counter[str] = Counter()
    marks = extract_tokenizer_marks(tokenizer)
    for row in rows:
        sample, reason = _tokenize(row, tokenizer, max_length, marks)
        if sample is None:
            excluded_counts[reason] += 1
        else:
            samples.append(sample)
    return samples, excluded_counts


def tokenize_pairs(
    rows: Iterable[Mapping[str, Any]], tokenizer: ChatTokenizer, *, max_length: int
) -> tuple[list[TokenizedPair], Counter[str]]:
    """Tokenize preference pairs; a pair with an unusable side is left out.

    Args:
        rows: rows as for `tokenize_samples`, with the chosen answer as the last message. They also
            have `rejected` (text) and `rejected_ended`, which is false for an answer that was cut
            off before an end-of-turn token.

    Returns:
        As for `tokenize_samples`, with the additional reason `same_answer`.
    """
    pairs: list[TokenizedPair] = []
    excluded_counts: Counter[str] = Counter()
    marks = extract_tokenizer_marks(tokenizer)
    for row in rows:
        rejected_messages = [*row["messages"][:-1], _assistant_message(row["rejected"])]
        chosen_sample, chosen_reason = _tokenize(row, tokenizer, max_length, marks)
        rejected_row = {**row, "messages": rejected_messages}
        rejected_sample, rejected_reason = _tokenize(rejected_row, tokenizer, max_length, marks)
        if chosen_sample is None or rejected_sample is None:
            excluded_counts[chosen_reason or rejected_reason] += 1
            continue
        if chosen_sample.tokens == rejected_sample.tokens:
            excluded_counts["same_answer"] += 1
            continue
        if not row["rejected_ended"]:
            end = rejected_sample.answer_end - 1
            rejected_sample = replace(
                rejected_sample, tokens=rejected_sample.tokens[:end], answer_end=end
            )
        pairs.append(TokenizedPair(chosen_sample, rejected_sample))
    return pairs, excluded_counts


def tokenize_posts(
    rows: Iterable[Mapping[str, Any]],
    tokenizer: ChatTokenizer,
    *,
    block_tokens: int = MAX_RAW_BLOCK_TOKENS,
) -> tuple[list[TokenizedSample], Counter[str]]:
    """Split posts into blocks in which every token except the first contributes to the loss.

    Each block contains text of a single post. A plan can therefore cover posts evenly, and the
    trained part of each post is known. No chat markup is added, because a post contains no turns.

    Args:
        rows: rows with `document_id` and `text`.
        block_tokens: maximum tokens per block.

    Returns:
        The blocks in the order of `rows`, named `<document_id>#<number>`, and the number left out
        by reason: `too_short` for a short remainder after a post's last full block.
    """
    blocks: list[TokenizedSample] = []
    excluded_counts: Counter[str] = Counter()
    marks = extract_tokenizer_marks(tokenizer)
    for row in rows:
        text = marks.escape(row["text"].strip())
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=False)
        tokens = tuple(encoding["input_ids"])
        for number, start in enumerate(range(0, len(tokens), block_tokens)):
            block = tokens[start : start + block_tokens]
            if len(block) < MIN_RAW_BLOCK_TOKENS:
                excluded_counts["too_short"] += 1
                continue
            name = f"{row['document_id']}#{number}"
            blocks.append(TokenizedSample(name, row["document_id"], block, 1, len(block)))
    return blocks, excluded_counts


def drop_passages(
    rows: Iterable[Mapping[str, Any]], *, share: float, seed: int
) -> Iterator[Mapping[str, Any]]:
    """Yield the rows, with a share of their prompts reduced to the question.

    Passages make up three quarters of a sample's tokens. The choice of rows depends only on their
    ids and the seed. A row without passages is unchanged.

    Args:
        rows: rows as for `tokenize_samples`.
        share: share of the rows to reduce, 0 to 1.
    """
    for row in rows:
        digest = hashlib.sha256(f"{seed}/without/{row['sample_id']}".encode()).digest()
        if int.from_bytes(digest[:8]) / 2**64 >= share:
            yield row
            continue
        messages = [
            {**message, "content": strip_passages(message["content"])}
            if message["role"] == "user"
            else message
            for message in row["messages"]
        ]
        yield {**row, "messages": messages}


def _assistant_message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def strip_messages(
    messages: Sequence[Mapping[str, str]], marks: ControlMarks = COMMON_MARKS
) -> list[dict[str, str]]:
    """Return messages with stripped contents; a leading newline would merge with the template's.

    Control tokens in the contents are escaped, including those in the author's own text. Otherwise,
    a token that ends a turn would end the answer's loss span too early.
    """
    return marks.escape_messages(
        {"role": message["role"], "content": message["content"].strip()} for message in messages
    )


def _tokenize(
    row: Mapping[str, Any], tokenizer: ChatTokenizer, max_length: int, marks: ControlMarks
) -> tuple[TokenizedSample | None, str]:
    messages = strip_messages(row["messages"], marks)
    if not messages or messages[-1]["role"] != "assistant" or not messages[-1]["content"]:
        return None, "empty_answer"
    prompt = tokenizer.apply_chat_template(
        messages[:-1], tokenize=False, add_generation_prompt=True
    )
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    if not text.startswith(prompt):
        return None, "answer_merges_with_prompt"
    # The template may add text after the end-of-turn token (a newline), which is never generated.
    text = text.rstrip()
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    starts = [start for start, _ in encoding["offset_mapping"]]
    if len(prompt) not in starts:
        return None, "answer_merges_with_prompt"
    tokens = tuple(encoding["input_ids"])
    if len(tokens) > max_length:
        return None, "too_long"
    return (
        TokenizedSample(
            sample_id=row["sample_id"],
            document_id=row["document_id"],
            tokens=tokens,
            answer_start=starts.index(len(prompt)),
            answer_end=len(tokens),
        ),
        "",
    )
