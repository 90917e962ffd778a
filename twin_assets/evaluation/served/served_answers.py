"""Build the list of prompts for candidate and base, and define their answers.

Parity uses 8 prompts, each asked twice, or 20 if 8 do not decide it. The first four include their
passages; the template renders the others as questions for which no passage was found. Everything
else is asked once for all measures. Held-out questions include their passages, as in production.
Without passages, the tuned model of a sample author scored 0.40 for topic, and its base, which
rephrases the question, 0.83. With passages, the two models scored 0.37 and 0.40. A model trained on
shuffled pairs scored 0.37, its base 0.68 and a good model 0.65. Red-team prompts follow, then
instructions whose answers a function checks, without the template. The base is also asked the
held-out questions with posts of the author before them.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from twin_assets.evaluation.likelihood import held_out
from twin_assets.evaluation.served import checked_instructions, posts_in_prompt
from twin_resources.models.serving.served_model import ServedAnswer
from twin_resources.prompt.templates import Template

MAX_PARITY_PROMPTS = 20  # only `FIRST_PARITY_PROMPTS` are asked if they decide
FIRST_PARITY_PROMPTS = 8
PARITY_TOKENS = 16  # compared tokens of each answer
PARITY_PROMPTS_WITH_PASSAGES = 4  # prompts that include their passages
ANSWER_TOKENS = 40  # 25 words are enough for a full topic score
MIN_ANSWERS_FOR_SERVER = 8  # a server takes 3 s to start, and reads the author's posts again
RED_TEAM_FILE = Path(__file__).with_name("red_team_prompts.json")
# names of the parts in the progress lines
SERVED_PART, REFERENCE_PART, ANSWERS_PART = (
    "answers of the served model",
    "reference of the served model",
    "answers of candidate and base",
)


@dataclass(frozen=True)
class RedTeamPrompt:
    """A prompt; `kind` is `abuse`, `personal` or `secret`, and `language` an ISO 639-1 code."""

    id: str
    kind: str
    language: str
    prompt: str


@dataclass
class CandidateAnswers:
    """The answers of a served candidate to the parity set, so far.

    Attributes:
        prompts: messages of each prompt.
        first_answers, repeated_answers: answers of at most `ANSWER_TOKENS` and `PARITY_TOKENS`
            tokens.
    """

    prompts: list[list[Any]] = field(default_factory=list[list[Any]])
    first_answers: list[ServedAnswer] = field(default_factory=list[ServedAnswer])
    repeated_answers: list[ServedAnswer] = field(default_factory=list[ServedAnswer])


@dataclass(frozen=True)
class PromptSet:
    """All prompts for candidate and base, in one list.

    Attributes:
        questions, documents, own_answers, passages: questions, documents, author's answers and
            shown passages of the held-out prompts, which come first in `prompts`. They stay
            complete if only some of the prompts are asked (`sequential_plan.py`).
        held_out, red_team, instructions, with_posts: positions in `prompts`, in this order.
            `with_posts` repeats the held-out prompts with posts of the author, only for the base.
    """

    questions: list[str] = field(repr=False)
    documents: list[str] = field(repr=False)
    own_answers: list[str] = field(repr=False)
    passages: list[tuple[str, ...]] = field(repr=False)
    prompts: list[list[Any]] = field(repr=False)
    held_out: range
    red_team: range
    with_posts: range
    instructions: range = range(0)


@dataclass
class PromptAnswers:
    """Answers so far by position; the base's answers only where they had to be requested."""

    candidate: dict[int, ServedAnswer] = field(default_factory=dict[int, ServedAnswer], repr=False)
    base: dict[int, str] = field(default_factory=dict[int, str], repr=False)


@cache
def read_red_team_prompts() -> tuple[RedTeamPrompt, ...]:
    """Return all red-team prompts, in the order of the file."""
    return tuple(RedTeamPrompt(**row) for row in json.loads(RED_TEAM_FILE.read_text("utf-8")))


def build_prompt_set(
    passages: pl.DataFrame,
    samples: pl.DataFrame,
    *,
    template: Template,
    chunk_texts: Mapping[str, str],
    posts: Sequence[str],
    max_questions: int,
) -> PromptSet:
    """Build the prompts of all measures.

    Args:
        passages: held-out samples ordered by hash; the first `max_questions` are asked.
        samples: any samples; the first sample's system message precedes the red-team prompts.
        chunk_texts: texts of the author's chunks by id.
        posts: posts of the author, for the base's prompts.
        max_questions: largest number of held-out questions.
    """
    asked_samples = passages.head(max_questions)
    prompts = held_out.build_prompts(asked_samples)
    template_prompts = held_out.render_bare_questions(samples.head(1), template)

    def bare_prompts(texts: Sequence[str]) -> list[list[Any]]:
        return [
            [
                *messages[:-1],
                {"role": "user", "content": template.bare_question.format(question=text)},
            ]
            for text in texts
            for messages in template_prompts
        ]

    red_team = bare_prompts([red_team_prompt.prompt for red_team_prompt in read_red_team_prompts()])
    instructions = [
        [{"role": "user", "content": checked_instruction.instruction}]
        for checked_instruction in checked_instructions.read_checked_instructions()
    ]
    posts_prompts = (
        [posts_in_prompt.add_posts_to_prompt(prompt, posts) for prompt in prompts] if posts else []
    )
    ends = [0]
    for part in (prompts, red_team, instructions, posts_prompts):
        ends.append(ends[-1] + len(part))
    return PromptSet(
        questions=asked_samples["question"].to_list(),
        documents=asked_samples["document_id"].to_list(),
        own_answers=asked_samples["answer"].to_list(),
        passages=[
            tuple(chunk_texts[chunk] for chunk in chunk_ids if chunk in chunk_texts)
            for chunk_ids in asked_samples["context_chunk_ids"].to_list()
        ],
        prompts=[*prompts, *red_team, *instructions, *posts_prompts],
        held_out=range(ends[0], ends[1]),
        red_team=range(ends[1], ends[2]),
        instructions=range(ends[2], ends[3]),
        with_posts=range(ends[3], ends[4]),
    )


def build_parity_prompts(
    passages: pl.DataFrame, training: pl.DataFrame, *, template: Template
) -> list[list[Any]]:
    """Return the parity set: `MAX_PARITY_PROMPTS` prompts, or fewer if there are fewer samples.

    Args:
        passages: held-out samples ordered by hash.
        training: training samples ordered by hash, which fill up the set.
        template: the template that the checkpoint names.
    """
    samples = pl.concat([passages, training], how="diagonal").head(MAX_PARITY_PROMPTS)
    prompts_with_passages = held_out.build_prompts(samples.head(PARITY_PROMPTS_WITH_PASSAGES))
    return [
        *prompts_with_passages,
        *held_out.render_bare_questions(samples.slice(PARITY_PROMPTS_WITH_PASSAGES), template),
    ]
