"""Samples as token sequences with the span of the answer.

Scope: rendering a sample's messages with the model's chat template and finding the tokens
that the loss is taken over. Out of scope: the prompt's wording (`prompt/templates.py`
rendered it into the messages), the order of samples (`batches.py`).
Method: loss on the answer alone; the mask follows from character offsets in the rendered text, not
from tokenizing the parts apart, so that what is masked is what the server will see as prompt.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from twin_resources.prompt.control_marks import FAMILIES, ControlMarks, marks_of_tokenizer
from twin_resources.prompt.templates import question_alone


class ChatTokenizer(Protocol):
    """What is used of a transformers tokenizer."""

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
        tokens: prompt and answer with its end-of-turn token.
        answer_start, answer_end: the loss is taken over `tokens[answer_start:answer_end]`.
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


RAW_BLOCK = 512  # tokens of a raw post that pass the model at once
MIN_RAW_BLOCK = 16


@dataclass(frozen=True)
class TokenizedPair:
    """Two answers to one prompt; the two have the same tokens before `answer_start`."""

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
    """Tokenize samples; what cannot be trained on is counted by reason.

    Args:
        rows: with `sample_id`, `document_id` and `messages` (the last one is the answer).

    Returns:
        The samples in the order of `rows`, and how many were left out: `too_long`,
        `answer_merges_with_prompt` (a token reaches over the border), `empty_answer`.
    """
    samples: list[TokenizedSample] = []
    left_out: Counter[str] = Counter()
    marks = marks_of_tokenizer(tokenizer)
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
    """Tokenize preference pairs; one of which either side can't be trained on is left out.

    Args:
        rows: as for `tokenize_samples`, where the last message is the chosen answer, with
            `rejected` (text) and `rejected_ended`: false for an answer that was cut off, whose
            end-of-turn token nobody wrote.

    Returns:
        As `tokenize_samples`; a further reason is `same_answer`.
    """
    pairs: list[TokenizedPair] = []
    left_out: Counter[str] = Counter()
    marks = marks_of_tokenizer(tokenizer)
    for row in rows:
        rejected_messages = [*row["messages"][:-1], _answer(row["rejected"])]
        chosen, reason = _tokenize(row, tokenizer, max_length, marks)
        other_row = {**row, "messages": rejected_messages}
        rejected, other = _tokenize(other_row, tokenizer, max_length, marks)
        if chosen is None or rejected is None:
            left_out[reason or other] += 1
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
    rows: Iterable[Mapping[str, Any]], tokenizer: ChatTokenizer, *, block: int = RAW_BLOCK
) -> tuple[list[TokenizedSample], Counter[str]]:
    """Cut posts into blocks whose every token but the first has a loss.

    A block holds one post's text alone, so that a plan covers posts evenly and what a training saw
    of a post can be told. Nothing is put around it: no turn begins or ends in a post.

    Args:
        rows: with `document_id` and `text`.
        block: most tokens of one.

    Returns:
        The blocks in the order of `rows`, named `<document_id>#<number>`, and how many were left
        out: `too_short`, the rest of a post behind its last whole block.
    """
    blocks: list[TokenizedSample] = []
    left_out: Counter[str] = Counter()
    marks = marks_of_tokenizer(tokenizer)
    for row in rows:
        text = marks.escaped(row["text"].strip())
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=False)
        tokens = tuple(encoded["input_ids"])
        for number, start in enumerate(range(0, len(tokens), block)):
            piece = tokens[start : start + block]
            if len(piece) < MIN_RAW_BLOCK:
                left_out["too_short"] += 1
                continue
            name = f"{row['document_id']}#{number}"
            blocks.append(TokenizedSample(name, row["document_id"], piece, 1, len(piece)))
    return blocks, left_out


def without_passages(
    rows: Iterable[Mapping[str, Any]], *, share: float, seed: int
) -> Iterator[Mapping[str, Any]]:
    """The rows, of which a share has the question alone in its prompt.

    A prompt with passages is three quarters of a sample's tokens. Which rows lose theirs follows
    from their ids and the seed alone; one that has none, or is of a general set, is as it was.

    Args:
        rows: as for `tokenize_samples`.
        share: of the rows, 0 to 1.
    """
    for row in rows:
        lot = hashlib.sha256(f"{seed}/without/{row['sample_id']}".encode()).digest()
        if int.from_bytes(lot[:8]) / 2**64 >= share:
            yield row
            continue
        asked = [
            {**part, "content": question_alone(part["content"])} if part["role"] == "user" else part
            for part in row["messages"]
        ]
        yield {**row, "messages": asked}


def _answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def stripped(
    messages: Sequence[Mapping[str, str]], marks: ControlMarks = FAMILIES
) -> list[dict[str, str]]:
    """Messages with stripped contents: a leading newline would merge with the template's own.

    Control tokens in them are text, in a post that is the answer as well: a token that ends a turn
    would end the span of the answer's loss in the middle.
    """
    return marks.escaped_messages(
        {"role": part["role"], "content": part["content"].strip()} for part in messages
    )


def _tokenize(
    row: Mapping[str, Any], tokenizer: ChatTokenizer, max_length: int, marks: ControlMarks
) -> tuple[TokenizedSample | None, str]:
    messages = stripped(row["messages"], marks)
    if not messages or messages[-1]["role"] != "assistant" or not messages[-1]["content"]:
        return None, "empty_answer"
    prompt = tokenizer.apply_chat_template(
        messages[:-1], tokenize=False, add_generation_prompt=True
    )
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
    if not text.startswith(prompt):
        return None, "answer_merges_with_prompt"
    # what the template writes after the end-of-turn token (a newline) is never generated
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
