"""Several questions of one post as one conversation that shows passages once.

Belongs here: which samples are joined, and the tokens of the joined ones. Does not belong here: one
sample's tokens (`samples.py`), the order of training (`batches.py`), the loss (`losses.py`).

A sample's prompt is three quarters of its tokens, most of them passages. In a conversation the
first question stands below its passages, the others stand alone, as a reader asks on; each answer
has its loss. What is joined follows from the rows, the recipe and the tokenizer alone.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twin_assets.checkpoints.batches import GENERAL, Plannable
from twin_assets.checkpoints.samples import (
    ChatTokenizer,
    TokenizedSample,
    stripped,
    tokenize_samples,
)
from twin_resources.prompt.control_marks import ControlMarks, marks_of_tokenizer
from twin_resources.prompt.templates import question_alone

REPEATED = 0.2  # share of an answer's word sequences, as `contexts.REPEATS_ANSWER` has it
WORDS = 5
Turn = Mapping[str, str]


def tokenize_conversations(
    rows: Iterable[Mapping[str, Any]],
    tokenizer: ChatTokenizer,
    *,
    max_length: int,
    questions: int,
) -> tuple[list[TokenizedSample], Counter[str]]:
    """`tokenize_samples`, of which those of one post are joined.

    A sample is joined to the one before it of its post while that conversation has fewer than
    `questions` and stays within `max_length`, unless what stands there says its answer already.
    Samples of a general set are not joined: they are of no post.

    Args:
        rows: as for `tokenize_samples`; their order is that of the questions.
        questions: most of a conversation; at least 2.

    Returns:
        The conversations, named as their first sample, in the order of these; and how many samples
        were left out, by the reasons of `tokenize_samples`.
    """
    kept, marks = list(rows), marks_of_tokenizer(tokenizer)
    samples, left_out = tokenize_samples(kept, tokenizer, max_length=max_length)
    messages = {row["sample_id"]: stripped(row["messages"], marks) for row in kept}
    open_now: dict[str, int] = {}  # by post: where its last conversation stands
    found: list[TokenizedSample] = []
    said: list[list[dict[str, str]]] = []
    for sample in samples:
        turns = messages[sample.sample_id]
        place = open_now.get(sample.document_id)
        if place is not None and len(found[place].spans) < questions:
            joined = _joined(said[place], turns)
            longer = _tokenized(found[place], joined, tokenizer, max_length, marks)
            if longer is not None:
                found[place], said[place] = longer, joined
                continue
        if sample.document_id != GENERAL:
            open_now[sample.document_id] = len(found)
        found.append(sample)
        said.append(turns)
    return found, left_out


def questions_of(sample: Plannable) -> int:
    """How many samples one holds: of a conversation its questions, of a pair 1."""
    return len(sample.spans) if isinstance(sample, TokenizedSample) else 1


def conversations_of(samples: Sequence[Plannable], questions: int) -> dict[str, int]:
    """`TrainingResult.conversations`, where a recipe joins so many samples."""
    if questions == 1:
        return {}
    joined = [held for held in map(questions_of, samples) if held > 1]
    return {"questions": sum(joined), "conversations": len(joined)}


def _joined(said: Sequence[Turn], turns: Sequence[Turn]) -> list[dict[str, str]]:
    """What was said and the next question and answer; empty: they do not belong together."""
    roles = [turn["role"] for turn in turns]
    if roles != ["system", "user", "assistant"] or dict(said[0]) != dict(turns[0]):
        return []
    answer = turns[-1]["content"]
    if _repeats(answer, [turn["content"] for turn in said]):
        return []
    asked = {"role": "user", "content": question_alone(turns[1]["content"])}
    return [*map(dict, said), asked, {"role": "assistant", "content": answer}]


def _repeats(answer: str, texts: Sequence[str]) -> bool:
    """Whether texts say an answer already: passages beside it, which are no context of its own."""
    wanted = _sequences(answer)
    known = set[tuple[str, ...]]().union(*map(_sequences, texts))
    return len(wanted & known) > REPEATED * len(wanted)


def _sequences(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    size = min(WORDS, max(1, len(words)))
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


def _tokenized(
    first: TokenizedSample,
    messages: list[dict[str, str]],
    tokenizer: ChatTokenizer,
    max_length: int,
    marks: ControlMarks,
) -> TokenizedSample | None:
    """A conversation's tokens and the span of each answer; None: there is none (`_joined`), it is
    too long, or a span is not clear.

    A template that writes an earlier turn otherwise than the last one has no span for it.
    """
    if not messages:
        return None
    said = stripped(messages, marks)

    def text_of(turns: list[dict[str, str]], *, asks: bool) -> str:
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=asks)

    text = text_of(said, asks=False).rstrip()
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets: list[tuple[int, int]] = encoded["offset_mapping"]
    starts: dict[int, int] = {}
    for at, (start, _) in enumerate(offsets):
        starts.setdefault(start, at)  # the first of several
    ends = {end: at + 1 for at, (_, end) in enumerate(offsets)}
    spans: list[tuple[int, int]] = []
    for at, turn in enumerate(said):
        if turn["role"] != "assistant":
            continue
        prompt = text_of(said[:at], asks=True)
        whole = text_of(said[: at + 1], asks=False).rstrip()
        if not (text.startswith(whole) and whole.startswith(prompt)):
            return None
        if len(prompt) not in starts or len(whole) not in ends:
            return None
        spans.append((starts[len(prompt)], ends[len(whole)]))
    tokens = tuple(encoded["input_ids"])
    if len(tokens) > max_length or spans[-1][1] != len(tokens):
        return None
    return TokenizedSample(
        first.sample_id, first.document_id, tokens, spans[0][0], spans[-1][1], tuple(spans)
    )
