"""Convert samples to token sequences with the span of the answer.

Scope: rendering a sample's messages with the model's chat template and finding the tokens that
the loss covers. Out of scope: the prompt's wording (`prompt/templates.py` rendered it into the
messages), the order of samples (`batches.py`).
Method: the loss covers only the answer. The mask follows from character offsets in the rendered
text, not from tokenizing the parts separately, so the masked part is the prompt as the server
will see it.
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
    """The parts of a transformers tokenizer that this module uses."""

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any: ...

    def __call__(
        self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool
    ) -> Any: ...


@dataclass(frozen=True)
class TokenizedSample:
    """One sample.

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


MAX_RAW_BLOCK_TOKENS = 512  # maximum tokens of a raw post per block
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
    """Tokenize samples; unusable ones are counted by reason.

    Args:
        rows: rows with `sample_id`, `document_id` and `messages` (the last one is the answer).

    Returns:
        The samples in the order of `rows`, and how many were left out: `too_long`,
        `answer_merges_with_prompt` (a token spans the border), `empty_answer`.
    """
    samples: list[TokenizedSample] = []
    left_out: Counter[str] = Counter()
    marks = extract_tokenizer_marks(tokenizer)
    for row in rows:
        sample, reason = _tokenize(row, tokenizer, max_length, marks)
        if sample is None:
            left_out[reason] += 1
        else:
            samples.append(sample)
    return samples, left_out


def tokenize_pairs(
    rows: Iterable[Mapping[str, Any]], tokenizer: ChatTokenizer, *, max_length: int
) -> tuple[list[TokenizedPair], Counter[str]]:
    """Tokenize preference pairs; a pair with an unusable side is left out.

    Args:
        rows: rows as for `tokenize_samples`, with the chosen answer as the last message, and
            `rejected` (text) and `rejected_ended`: false for an answer that was cut off before an
            end-of-turn token.

    Returns:
        As for `tokenize_samples`, with the additional reason `same_answer`.
    """
    pairs: list[TokenizedPair] = []
    left_out: Counter[str] = Counter()
    marks = extract_tokenizer_marks(tokenizer)
    for row in rows:
        rejected_messages = [*row["messages"][:-1], _assistant_message(row["rejected"])]
        chosen, chosen_reason = _tokenize(row, tokenizer, max_length, marks)
        other_row = {**row, "messages": rejected_messages}
        rejected, rejected_reason = _tokenize(other_row, tokenizer, max_length, marks)
        if chosen is None or rejected is None:
            left_out[chosen_reason or rejected_reason] += 1
            continue
        if chosen.tokens == rejected.tokens:
            left_out["same_answer"] += 1
            continue
        if not row["rejected_ended"]:
            end = rejected.answer_end - 1
            rejected = replace(rejected, tokens=rejected.tokens[:end], answer_end=end)
        pairs.append(TokenizedPair(chosen, rejected))
    return pairs, left_out


def tokenize_posts(
    rows: Iterable[Mapping[str, Any]],
    tokenizer: ChatTokenizer,
    *,
    block_tokens: int = MAX_RAW_BLOCK_TOKENS,
) -> tuple[list[TokenizedSample], Counter[str]]:
    """Cut posts into blocks in which every token except the first has a loss.

    Each block holds text of a single post, so that a plan covers posts evenly and the trained part
    of each post is known. No chat markup is added: no turn begins or ends in a post.

    Args:
        rows: rows with `document_id` and `text`.
        block_tokens: maximum tokens per block.

    Returns:
        The blocks in the order of `rows`, named `<document_id>#<number>`, and how many were left
        out: `too_short`, a post's remainder after its last full block.
    """
    blocks: list[TokenizedSample] = []
    left_out: Counter[str] = Counter()
    marks = extract_tokenizer_marks(tokenizer)
    for row in rows:
        text = marks.escape(row["text"].strip())
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=False)
        tokens = tuple(encoded["input_ids"])
        for number, start in enumerate(range(0, len(tokens), block_tokens)):
            piece = tokens[start : start + block_tokens]
            if len(piece) < MIN_RAW_BLOCK_TOKENS:
                left_out["too_short"] += 1
                continue
            name = f"{row['document_id']}#{number}"
            blocks.append(TokenizedSample(name, row["document_id"], piece, 1, len(piece)))
    return blocks, left_out


def drop_passages(
    rows: Iterable[Mapping[str, Any]], *, share: float, seed: int
) -> Iterator[Mapping[str, Any]]:
    """Yield the rows, reducing a share of their prompts to the question.

    Passages make up three quarters of a sample's tokens. The choice of rows depends only on their
    ids and the seed; a row without passages, or of a general set, is unchanged.

    Args:
        rows: rows as for `tokenize_samples`.
        share: share of the rows, 0 to 1.
    """
    for row in rows:
        digest = hashlib.sha256(f"{seed}/without/{row['sample_id']}".encode()).digest()
        if int.from_bytes(digest[:8]) / 2**64 >= share:
            yield row
            continue
        messages = [
            {**part, "content": strip_passages(part["content"])} if part["role"] == "user" else part
            for part in row["messages"]
        ]
        yield {**row, "messages": messages}


def _assistant_message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def strip_messages(
    messages: Sequence[Mapping[str, str]], marks: ControlMarks = COMMON_MARKS
) -> list[dict[str, str]]:
    """Return messages with stripped contents; a leading newline would merge with the template's.

    Control tokens in the contents are escaped, even in a post used as the answer: a token that ends
    a turn would otherwise end the span of the answer's loss in the middle.
    """
    return marks.escape_messages(
        {"role": part["role"], "content": part["content"].strip()} for part in messages
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
    # text that the template adds after the end-of-turn token (a newline) is never generated
    text = text.rstrip()
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    starts = [start for start, _ in encoded["offset_mapping"]]
    if len(prompt) not in starts:
        return None, "answer_merges_with_prompt"
    tokens = tuple(encoded["input_ids"])
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
