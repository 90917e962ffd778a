"""What the served candidate answers to held-out prompts, and what three measures make of it.

Belongs here: which prompts a server is asked, in one go for parity, topic and copies; the topic
scores beside the base model's.
Does not belong here: asking (`served_model.py`), the measures themselves, thresholds (`gate.py`).

Four prompts come as they are drawn, with their passages; the others are questions alone, as the
template renders one for which nothing was found. Without passages a model has to know what the
question is about: a model of shuffled pairs scored .29 there, its base .77, a good one .88; with
passages they scored .37, .68 and .65, at four times the time.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.evaluation import held_out, served_model
from twin_assets.evaluation.gate import FEWEST_PASSAGES, OnTopic
from twin_assets.evaluation.memorisation import CopyRate, verbatim_copy_rate
from twin_assets.evaluation.progress import Clock, Progress
from twin_assets.evaluation.served_model import ServedAnswer
from twin_resources.judging.judge import Answered
from twin_resources.judging.topic import TopicJudge
from twin_resources.prompt import Template

if TYPE_CHECKING:
    from twin_resources.model_server import RunningServer

Serve = Callable[[], AbstractContextManager["RunningServer"]]

PARITY_PROMPTS = 20
PARITY_TOKENS = 16  # compared of each answer
PARITY_DRAWN = 4  # with their passages
TOPIC_QUESTIONS = FEWEST_PASSAGES
ANSWER_TOKENS = 40  # for topic and copies; 25 words are enough for a full topic score
# As authors' settings have it: without one a small model repeats a sentence to the end, and a good
# one scored .55 instead of .88. Servers report log-probabilities from before the penalty.
FREQUENCY_PENALTY = 0.4
# answers, second answers, reference passes and the base's answers, at most
STEPS = PARITY_DRAWN + 2 * TOPIC_QUESTIONS + 2 * PARITY_PROMPTS


@dataclass(frozen=True)
class CandidateAnswers:
    """The answers of one served candidate.

    Attributes:
        prompts: messages of the parity set; `first` and `again` are its answers, of
            `ANSWER_TOKENS` and `PARITY_TOKENS` tokens.
        questions: held-out questions; `asked` their messages, `answers` what was said.
        shown: everything that was asked, and `said` what was answered.
    """

    prompts: list[list[Any]]
    first: list[ServedAnswer]
    again: list[ServedAnswer]
    questions: list[str]
    asked: list[list[Any]]
    answers: list[str]
    shown: list[list[Any]]
    said: list[str]

    def copies(self, training_texts: Sequence[str]) -> CopyRate:
        """How much was copied word for word."""
        prompts = ["\n".join(message["content"] for message in prompt) for prompt in self.shown]
        return verbatim_copy_rate(self.said, prompts, training_texts)


def ask_candidate(
    passages: pl.DataFrame,
    training: pl.DataFrame,
    *,
    template: Template,
    serve: Serve,
    clock: Clock,
    progress: Progress,
) -> CandidateAnswers:
    """Start the candidate's server and ask it everything.

    Args:
        passages: held-out samples in drawn order.
        training: training samples in drawn order; they fill up the parity set.
        template: the one that the checkpoint names.

    Raises:
        TwinError: it cannot be served, or does not answer as it must.
    """
    held = passages.head(TOPIC_QUESTIONS)
    asked = held_out.questions_alone(held, template)
    drawn = held_out.prompts_of(pl.concat([passages, training], how="diagonal").head(PARITY_DRAWN))
    missing = PARITY_PROMPTS - len(drawn) - len(asked)
    filling = held_out.questions_alone(training.head(max(0, missing)), template)
    shown = [*drawn, *asked, *filling]
    prompts = shown[:PARITY_PROMPTS]
    if not shown:
        return CandidateAnswers([], [], [], [], [], [], [], [])
    with clock.part("served model"), serve() as server:
        advance = progress.of("answers of the served model")
        first = _ask(server, shown, ANSWER_TOKENS, advance)
        again = _ask(server, prompts, PARITY_TOKENS, advance)
    said = [answer.text for answer in first]
    return CandidateAnswers(
        prompts=prompts,
        first=first[: len(prompts)],
        again=again,
        questions=held["question"].to_list(),
        asked=asked,
        answers=said[len(drawn) : len(drawn) + len(asked)],
        shown=shown,
        said=said,
    )


def compare_topic(
    found: CandidateAnswers,
    *,
    serve_base: Serve,
    topic: Callable[[], TopicJudge],
    clock: Clock,
    progress: Progress,
) -> OnTopic:
    """Topic scores of candidate and base, both served, on the same questions.

    Raises:
        TopicNotCalibrated: the author's pairs give no scale.
        TwinError: the base cannot be served.
    """
    with clock.part("topic scale"):
        judge = topic()
    with clock.part("served base model"), serve_base() as server:
        advance = progress.of("answers of the base model")
        base = [answer.text for answer in _ask(server, found.asked, ANSWER_TOKENS, advance)]
    with clock.part("topic scores"):
        mine, theirs = (
            judge.score_all(
                [
                    Answered(question, answer)
                    for question, answer in zip(found.questions, answers, strict=True)
                ]
            )
            for answers in (found.answers, base)
        )
    compared = on_topic(mine, theirs, scale=(judge.calibration.unrelated, judge.calibration.own))
    progress.say(
        f"topic score: {compared.candidate:.3f}, base model {compared.base:.3f} on "
        f"{compared.questions} questions"
    )
    return compared


def on_topic(
    candidate: Sequence[float], base: Sequence[float], *, scale: tuple[float, float]
) -> OnTopic:
    """Means and the 95 % interval of the mean difference (normal, paired)."""
    count = len(candidate)
    differences = [mine - theirs for mine, theirs in zip(candidate, base, strict=True)]
    mean = sum(differences) / count
    spread = sum((value - mean) ** 2 for value in differences) / max(1, count - 1)
    reach = 1.96 * math.sqrt(spread / count)
    return OnTopic(
        questions=count,
        candidate=sum(candidate) / count,
        base=sum(base) / count,
        low=mean - reach,
        high=mean + reach,
        scale=scale,
    )


def _ask(
    server: RunningServer, prompts: list[list[Any]], tokens: int, advance: Callable[[int], None]
) -> list[ServedAnswer]:
    return served_model.ask(
        server,
        prompts,
        max_tokens=tokens,
        frequency_penalty=FREQUENCY_PENALTY,
        advance=advance,
    )
