"""What the served candidate answers to held-out prompts, and what three measures make of it.

Belongs here: which prompts a server is asked, in one go for parity, topic and copies; the topic
scores beside the base model's.
Does not belong here: asking (`served_model.py`), the measures themselves, thresholds (`gate.py`).

Parity asks 20 prompts twice: four as they are drawn, with their passages, the others without them,
as the template renders a question for which nothing was found. Topic asks what production asks,
with passages: without them the tuned model of a sample author scored .40 where the base, which
repeats the question in other words, had .83; with them .37 and .40. A model of shuffled pairs
scored .37 where its base had .68 and a good one .65.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import polars as pl

from twin_assets.evaluation import held_out, served_model
from twin_assets.evaluation.gate import FEWEST_PASSAGES, OnTopic
from twin_assets.evaluation.memorisation import CopyRate, verbatim_copy_rate
from twin_assets.evaluation.progress import Clock, Progress
from twin_assets.evaluation.served_model import Serve, ServedAnswer
from twin_resources.judging.judge import Answered, digest
from twin_resources.judging.topic import TopicJudge
from twin_resources.prompt import Template
from twin_resources.serving.model_server import own_engine
from twin_resources.serving.model_server_process import servers_at_once

Scores = Callable[[list[int]], Sequence[float]]
BaseScores = Callable[[Scores], Sequence[float]]

PARITY_PROMPTS = 20
PARITY_TOKENS = 16  # compared of each answer
PARITY_DRAWN = 4  # with their passages
TOPIC_QUESTIONS = FEWEST_PASSAGES
ANSWER_TOKENS = 40  # for topic and copies; 25 words are enough for a full topic score
# As authors' settings have it: without one a small model repeats a sentence to the end, and a good
# one scored .55 instead of .88. Servers report log-probabilities from before the penalty.
FREQUENCY_PENALTY = 0.4
# answers, second answers and reference passes of parity; the candidate's answers for topic
STEPS = 3 * PARITY_PROMPTS + TOPIC_QUESTIONS


@dataclass(frozen=True)
class CandidateAnswers:
    """The answers of one served candidate to the parity set.

    Attributes:
        prompts: messages; `first` and `again` are the answers, of `ANSWER_TOKENS` and
            `PARITY_TOKENS` tokens.
    """

    prompts: list[list[Any]]
    first: list[ServedAnswer]
    again: list[ServedAnswer]


@dataclass(frozen=True)
class TopicAnswers:
    """Answers of candidate and base to the same held-out questions.

    Attributes:
        base: by position; those whose score is known are not asked again.
    """

    questions: list[str]
    asked: list[list[Any]]
    candidate: list[str]
    base: Mapping[int, str]


def ask_candidate(
    passages: pl.DataFrame,
    training: pl.DataFrame,
    *,
    template: Template,
    serve: Serve,
    clock: Clock,
    progress: Progress,
) -> CandidateAnswers:
    """Start the candidate's server and ask it the parity set.

    Args:
        passages: held-out samples in drawn order.
        training: training samples in drawn order; they fill up the set.
        template: the one that the checkpoint names.

    Raises:
        TwinError: it cannot be served, or does not answer as it must.
    """
    samples = pl.concat([passages, training], how="diagonal").head(PARITY_PROMPTS)
    drawn = held_out.prompts_of(samples.head(PARITY_DRAWN))
    prompts = [*drawn, *held_out.questions_alone(samples.slice(PARITY_DRAWN), template)]
    if not prompts:
        return CandidateAnswers([], [], [])
    with clock.part("served model"):
        advance = progress.of("answers of the served model")
        first, again = (
            _ask(serve, prompts, tokens, advance, servers=servers_at_once())
            for tokens in (ANSWER_TOKENS, PARITY_TOKENS)
        )
    return CandidateAnswers(prompts, first, again)


@dataclass(frozen=True)
class TopicQuestions:
    """The held-out questions that candidate and base are asked."""

    questions: list[str]
    asked: list[list[Any]]

    def names(self, judge: TopicJudge, *, base: str) -> list[str]:
        """What the base's scores are known by; greedy answers follow from the prompt.

        Args:
            base: revision of the base model.
        """
        told = ["topic", base, own_engine(), judge.revision, ANSWER_TOKENS, FREQUENCY_PENALTY]
        return [digest(*told, messages) for messages in self.asked]


def topic_questions(passages: pl.DataFrame) -> TopicQuestions:
    """The first `TOPIC_QUESTIONS` held-out samples, in drawn order."""
    held = passages.head(TOPIC_QUESTIONS)
    return TopicQuestions(held["question"].to_list(), held_out.prompts_of(held))


def ask_both(
    topic: TopicQuestions,
    *,
    of_base: Sequence[int],
    serve: Serve,
    serve_base: Serve,
    clock: Clock,
    progress: Progress,
) -> TopicAnswers:
    """Ask candidate and base the same held-out prompts, at the same time: a server uses half of
    the cores. With nothing to ask the base, all of them are the candidate's.

    Args:
        of_base: positions of the questions that the base is asked.

    Raises:
        TwinError: one of them cannot be served, or does not answer as it must.
    """
    advance = progress.of("answers on topic")
    servers = 1 if of_base else servers_at_once()

    def answers(serve: Serve, prompts: list[list[Any]], servers: int) -> list[str]:
        found = _ask(serve, prompts, ANSWER_TOKENS, advance, servers=servers) if prompts else []
        return [answer.text for answer in found]

    prompts = [topic.asked[position] for position in of_base]
    with clock.part("served for topic"), ThreadPoolExecutor(2) as pool:
        mine = pool.submit(answers, serve, topic.asked, servers)
        theirs = pool.submit(answers, serve_base, prompts, 1)
        base = dict(zip(of_base, theirs.result(), strict=True))
        return TopicAnswers(topic.questions, topic.asked, mine.result(), base)


def compare_topic(
    found: TopicAnswers, *, judge: TopicJudge, base_scores: BaseScores, progress: Progress
) -> OnTopic:
    """Topic scores of candidate and base on the same questions.

    Args:
        base_scores: the base's; calls its argument with the positions that are not known.
    """
    mine = judge.score_all(
        [Answered(*one) for one in zip(found.questions, found.candidate, strict=True)]
    )
    theirs = base_scores(
        lambda positions: judge.score_all(
            [Answered(found.questions[at], found.base[at]) for at in positions]
        )
    )
    compared = on_topic(mine, theirs, scale=(judge.calibration.unrelated, judge.calibration.own))
    progress.say(
        f"topic score: {compared.candidate:.3f}, base model {compared.base:.3f} on "
        f"{compared.questions} questions"
    )
    return compared


def copies(
    parity: CandidateAnswers, on_topic: TopicAnswers | None, training_texts: Sequence[str]
) -> CopyRate:
    """How much of all that the candidate answered was copied word for word."""
    asked = [*parity.prompts, *(on_topic.asked if on_topic else [])]
    said = [answer.text for answer in parity.first] + (on_topic.candidate if on_topic else [])
    prompts = ["\n".join(message["content"] for message in prompt) for prompt in asked]
    return verbatim_copy_rate(said, prompts, training_texts)


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
    serve: Serve,
    prompts: list[list[Any]],
    tokens: int,
    advance: Callable[[int], None],
    *,
    servers: int,
) -> list[ServedAnswer]:
    return served_model.ask_several(
        serve,
        prompts,
        servers=servers,
        max_tokens=tokens,
        frequency_penalty=FREQUENCY_PENALTY,
        advance=advance,
    )
