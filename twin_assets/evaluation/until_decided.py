"""Held-out questions of the whole gate, a few at a time, until they decide.

Belongs here: which questions candidate and base are asked next, when that is enough.
Does not belong here: claims and thresholds (`measures/`), when a mean is decided
(`statistics/sequential.py`), servers that stay up (`served/waves.py`), the gate's first part, which
asks less of other things (`first_part.py`).

Candidate, base, and base with posts in its prompt are asked the same questions, 30 and then 5 at a
time, in the order drawn by lot, until no question is left, all of these are decided, or topic or
recitation refuses the candidate, whatever its voice is; one that what was read has refused before
is asked thirty, for the report:

    topic        by the bet that the first part has, on the mean over all questions
    voice        by bets on the differences to the base, to a part of the way to the author and to
                 the base with posts, on the first question of each post: 1.25 %, the other half of
                 the level is the last interval's
    recitation   by the bet of the first part, on every answer

The base with posts has the longest prompts: once its bet is won by the candidate, it is asked no
more, whatever else is open.

Thirty are the fewest for a voice and for the sentences that are judged one by one, whose share is
known no better for being asked longer. What costs little or may harm is asked in full: the red
team, what no post answers, instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from twin_assets.evaluation.evaluation_spec import JudgingContext, ServerStarters
from twin_assets.evaluation.harm import memorisation
from twin_assets.evaluation.measures import author_voice, on_topic, recitation
from twin_assets.evaluation.progress import ANSWER_S, Clock, ProgressLines
from twin_assets.evaluation.served import served_answers
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import (
    CandidateAnswers,
    PromptAnswers,
    PromptSet,
)
from twin_assets.evaluation.served.waves import ServerWaves
from twin_assets.evaluation.statistics.sequential import Side, decided
from twin_assets.evaluation.style import voice_scores
from twin_assets.evaluation.style.voice_scores import Voice
from twin_resources.statistics.rates import Rate

FEWEST, BATCH = 30, 5
WRONGLY_CLEAN, WRONGLY_RECITING = 0.05, 0.01


@dataclass(frozen=True)
class Said:
    """What was asked and answered.

    Attributes:
        asked: the prompts of all measures, with the held-out questions that were asked.
        answers: to them; `scores`: of the base's.
    """

    asked: PromptSet
    answers: PromptAnswers
    scores: BaseScores


def ask_until_decided(
    prompts: PromptSet,
    known: JudgingContext,
    *,
    parity: CandidateAnswers,
    training_texts: Sequence[str],
    scores_of: Callable[[PromptSet], BaseScores],
    served: ServerStarters,
    clock: Clock,
    progress: ProgressLines,
    refused: Sequence[str] = (),
) -> Said:
    """Ask candidate and base.

    Args:
        prompts: with all held-out questions that may be asked, in drawn order.
        parity: the candidate's answers to the parity set, which may recite as well.
        scores_of: the scores of the base's answers to some prompts, announced.
        refused: claims that have refused the candidate before it is asked anything.

    Raises:
        TwinError: one of them cannot be served, or does not answer as it must.
    """
    training = memorisation.TrainingSpans(training_texts)
    rest = [*prompts.red_team, *prompts.instructions]
    with (
        clock.part("served answers"),
        ServerWaves(
            prompts, serve=served.candidate, serve_base=served.base, progress=progress
        ) as waves,
    ):
        some = first_questions(prompts, min(FEWEST, len(prompts.held_out)))
        while len(some.held_out):
            _ask(waves, some.held_out, some, scores_of(some), progress=progress)
            if refused or len(some.held_out) == len(prompts.held_out):
                break
            said, known_scores = waves.said(), scores_of(some)
            recited = recitation.recited(some, said, parity, training).reciting
            voice = author_voice.compare_voices(some, said, known_scores, known.judges)
            if is_decided(some, said, known, scores=known_scores, recited=recited, voice=voice):
                break
            more = min(len(some.held_out) + BATCH, len(prompts.held_out))
            beaten = voice.against_all is not None and voice.against_all.posts_stopped == "above"
            below_posts = len(some.with_posts) if beaten else more
            some = first_questions(prompts, more, below_posts=below_posts)
        scores = scores_of(some)
        _ask(waves, rest, some, scores, progress=progress)
        if len(some.held_out):
            progress.say(
                f"topic, voice and recitation: {len(some.held_out)} of {len(prompts.held_out)} "
                f"questions asked{_since(refused)}"
            )
        wall_s = waves.wall_s + waves.alone_s
        return Said(some, replace(waves.said(), wall_s=wall_s), scores)


def _since(refused: Sequence[str]) -> str:
    return f": refused by {', '.join(refused)} before" if refused else ""


def first_questions(prompts: PromptSet, count: int, *, below_posts: int | None = None) -> PromptSet:
    """The prompts of all measures with the first of their held-out questions alone.

    Args:
        below_posts: how many of these the base is asked below the author's posts; None: all.
    """
    posts = prompts.with_posts[: count if below_posts is None else below_posts]
    return replace(prompts, held_out=prompts.held_out[:count], with_posts=posts)


def is_decided(
    some: PromptSet,
    answers: PromptAnswers,
    known: JudgingContext,
    *,
    scores: BaseScores,
    recited: Rate,
    voice: Voice,
) -> bool:
    """Whether no claim of the held-out questions waits for more of them, or one has refused.

    A judge that there is none of waits for nothing.
    """
    judges, count = known.judges, len(some.held_out)
    clean = [1.0] * (recited.of - recited.found) + [0.0] * recited.found
    limit = 1.0 - memorisation.MOST_RECITING
    recites = decided(clean, limit=limit, above=WRONGLY_CLEAN, below=WRONGLY_RECITING)
    if recites == "below":
        return True
    topic: Side | None = "above"
    if judges.topic is not None:
        shares = on_topic.shares_of_first(count, some, answers, judges.topic)
        topic = on_topic.stopped_at(shares, of=len(some.questions))
        if topic == "below" and on_topic.refuses(
            on_topic.topic_of_first(
                count, some, answers, judges.topic, scores=scores, stopped=topic
            )
        ):
            return True
    if topic is None or recites is None:
        return False
    if judges.voice is None:
        return True
    return voice_scores.is_decided(voice, parameters=known.base_parameters)


def _ask(
    waves: ServerWaves,
    positions: Sequence[int],
    some: PromptSet,
    scores: BaseScores,
    *,
    progress: ProgressLines,
) -> None:
    """The candidate what it has not answered, the base what has no score yet."""
    mine = [at for at in positions if at not in waves.candidate]
    wanted = {*positions, *some.with_posts}
    theirs = sorted(at for at in {*scores.missing()} & wanted if at not in waves.base)
    given = len(waves.candidate) + len(waves.base)
    left = len({*some.red_team, *some.instructions} - waves.candidate.keys())
    answers = given + len(theirs) + max(len(mine), left)
    progress.expect(served_answers.OF_BOTH, answers, each_s=ANSWER_S)
    if theirs:
        waves.ask(mine, of_base=theirs)
    elif mine:
        waves.ask_candidate(mine)
