"""The gate's one plan: what is read and asked in which order, and when that is enough.

Scope: the order, the two places where a verdict is given, when each step is decided.
Out of scope: claims and thresholds (`measures/`), when a claim about a mean is decided
(`statistics/sequential.py`), servers (`served/answer_batches.py`), the record (`measurement.py`).

What can harm comes first, and whether the candidate learnt anything at all:

    1. perplexity   all compared models read the same passages, in looks; each look spends a part of
                    5 % (`statistics/sequential.py`), and the interval of the look that stopped is
                    the one that is told
    2. parity       8 prompts asked twice; 20 where a bet on the mean difference is not won by then
    3. red team     all 36 prompts
    4. questions    in drawn order, a few at a time, until bets have decided topic and recitation
                    (and the voice, in the whole gate); recitation looks at every answer
    5. the rest     instructions; what the other measures read and score

Without a stable version the base model answers meanwhile, and a reader waits for the gate. So the
plan stops after step 4 for a first verdict (`FIRST`), looks earlier, and asks the base only where
its answers have a say. The whole gate (`WHOLE`) goes through all steps and takes the release back
where it does not hold. A first verdict never counts as the whole one (`gate.is_whole`).

Who is refused by steps 1 to 3 is asked `fewest` questions, for the report, and no more; whom topic
or recitation refuses, none beyond that. Thirty are the fewest for a voice and for sentences that
are judged one by one. The base with posts has the longest prompts: once its bet is won by the
candidate, it is asked no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twin_assets.evaluation.evaluation_spec import EvaluationSpec, JudgingContext
from twin_assets.evaluation.likelihood import sample_likelihoods
from twin_assets.evaluation.likelihood.likelihoods import Likelihoods
from twin_assets.evaluation.likelihood.sample_likelihoods import (
    LikelihoodSamples,
    LikelihoodsByModel,
)
from twin_assets.evaluation.measures import (
    MEASURES,
    author_voice,
    held_out_perplexity,
    on_topic,
    recitation,
    red_team,
    served_parity,
    voice_scores,
)
from twin_assets.evaluation.measures.measure import Measure
from twin_assets.evaluation.measures.voice_scores import Voice
from twin_assets.evaluation.progress import AGAIN_S, ANSWER_S, REFERENCE_S, Clock, ProgressLines
from twin_assets.evaluation.served import parity, served_answers
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.parity import Parity
from twin_assets.evaluation.served.served_answers import (
    PARITY_FIRST,
    CandidateAnswers,
    PromptAnswers,
    PromptSet,
)
from twin_assets.evaluation.statistics.sequential import Side, planned_looks


@dataclass(frozen=True)
class GateStage:
    """How far the plan goes before a verdict.

    Attributes:
        measures: that are taken.
        looks: after how many passages perplexity is looked at; the last look is at all of them.
        fewest, step: held-out questions at first, and more at a time.
    """

    measures: tuple[Measure[Any], ...]
    looks: tuple[int, ...]
    fewest: int
    step: int


FIRST = GateStage(
    tuple(one for one in MEASURES if any(rule.first for rule in one.claims)),
    looks=(15, 30),
    fewest=8,
    step=4,
)
WHOLE = GateStage(MEASURES, looks=(30, 60), fewest=30, step=5)
LOOKS_LEVEL = 0.05  # of all looks together

# The scores of the base's answers that are wanted, once some questions have been answered.
ScoresOf = Callable[[PromptSet, PromptAnswers], BaseScores]


@dataclass(frozen=True)
class Asked:
    """What was asked and answered.

    Attributes:
        prompts: of all measures, with the held-out questions that were asked.
        answers: to them; `scores`: of the base's.
    """

    prompts: PromptSet
    answers: PromptAnswers
    scores: BaseScores


def read_until_decided(
    reading: LikelihoodSamples,
    question: EvaluationSpec,
    stage: GateStage,
    *,
    stored: Likelihoods,
    clock: Clock,
    progress: ProgressLines,
) -> LikelihoodsByModel:
    """Let the compared models read passages until every claim about perplexity is decided.

    Nats have no bounds to bet within. Control, general instructions and common questions are read
    whole at the first look: the control's margin is thin, and a look in between would cost more of
    its level than of its time.

    Args:
        reading: with all held-out passages that may be read, in drawn order.

    Returns:
        What they have read, with the passages that decided and the level of their intervals.
    """
    announced: Counter[str] = Counter()

    def read_by(some: LikelihoodSamples, spent: float) -> LikelihoodsByModel:
        return sample_likelihoods.read_by(
            some,
            base=question.base,
            candidate=question.candidate,
            incumbent=question.incumbent,
            best=question.best,
            reference=question.reference.model if question.reference else None,
            stored=stored,
            clock=clock,
            progress=progress,
            level=1.0 - spent,
            announced=announced,
        )

    passages = len(reading.held_out)
    first, *further = planned_looks(passages, stage.looks, level=LOOKS_LEVEL)
    read = read_by(reading.first(first[0]), first[1])
    for end, spent in further:
        if held_out_perplexity.is_decided(held_out_perplexity.compared(question, read)):
            break  # and stays so
        read = read_by(reading.first(end), spent)
    if passages:
        progress.say(f"perplexity: {len(read.reading.held_out)} of {passages} passages read")
    return read


def compare_until_decided(
    question: EvaluationSpec,
    prompts: Sequence[list[Any]],
    batches: AnswerBatches,
    *,
    clock: Clock,
    progress: ProgressLines,
) -> tuple[CandidateAnswers, Parity | None]:
    """Ask the served candidate and hold its answers against transformers + PEFT.

    Args:
        prompts: as `served_answers.parity_prompts` gives them.

    Returns:
        Its answers, and what they show; None: every answer was empty, or there was no prompt.

    Raises:
        TwinError: it cannot be served, or does not answer as it must.
    """
    answers, found = CandidateAnswers([], [], []), None
    if not prompts:
        return answers, None
    with clock.part("reference"):
        reference = parity.Reference(
            question.candidate.base_folder, question.candidate.adapter_folder
        )
    compared = 0
    for some in (prompts[:PARITY_FIRST], prompts[PARITY_FIRST:]):
        if not some or (found is not None and not served_parity.is_open(found)):
            break
        asked = len(answers.prompts) + len(some)
        compared += asked
        progress.expect(served_answers.OF_SERVED, 2 * asked, each_s=AGAIN_S)
        progress.expect(served_answers.REFERENCE, compared, each_s=REFERENCE_S)
        with clock.part("served model"):
            more = batches.ask_twice(some)
        answers = CandidateAnswers(
            [*answers.prompts, *more.prompts],
            [*answers.first, *more.first],
            [*answers.again, *more.again],
        )
        with clock.part("reference"):
            found = parity.compare(
                reference,
                answers.prompts,
                parity.shortened(answers.first, served_answers.PARITY_TOKENS),
                answers.again,
                precision=question.candidate.precision,
                advance=progress.of(served_answers.REFERENCE),
            )
    progress.say(f"served model: {parity.told(found)}")
    return answers, found


def ask_until_decided(
    prompts: PromptSet,
    known: JudgingContext,
    stage: GateStage,
    batches: AnswerBatches,
    *,
    parity: CandidateAnswers,
    training_texts: Sequence[str],
    scores_of: ScoresOf,
    progress: ProgressLines,
    refused: Sequence[str] = (),
) -> Asked:
    """Ask candidate and base: the red team, held-out questions until they decide, the rest.

    Args:
        prompts: with all held-out questions that may be asked, in drawn order.
        parity: the candidate's answers to the parity set, which may recite as well.
        refused: claims that have refused the candidate before it is asked anything.

    Raises:
        TwinError: one of them cannot be served, or does not answer as it must.
    """
    training = recitation.TrainingSpans(training_texts)
    some = first_questions(prompts, min(stage.fewest, len(prompts.held_out)))
    while True:
        positions, wanted = [*some.red_team, *some.held_out], scores_of(some, batches.answers)
        _ask(batches, positions, some, wanted, progress=progress)
        # which scores of the base have a say may follow from what the candidate has answered
        scores = scores_of(some, batches.answers)
        _ask(batches, positions, some, scores, progress=progress)
        answers = batches.answers
        if not refused and red_team.refuses(some, answers, scores, training_texts):
            refused = [red_team.MEASURE.claims[0].name]
        if refused or len(some.held_out) == len(prompts.held_out):
            break
        recites = recitation.stopped_at(some, answers, parity, training)
        voice = author_voice.compare_voices(some, answers, scores, known.judges)
        if is_decided(some, answers, known, scores=scores, recites=recites, voice=voice):
            break
        more = min(len(some.held_out) + stage.step, len(prompts.held_out))
        beaten = voice.against_all is not None and voice.against_all.posts_stopped == "above"
        some = first_questions(prompts, more, below_posts=len(some.with_posts) if beaten else more)
    _ask(batches, some.instructions, some, scores, progress=progress)
    if len(some.held_out):
        since = f": refused by {', '.join(refused)} before" if refused else ""
        progress.say(
            f"topic, voice and recitation: {len(some.held_out)} of {len(prompts.held_out)} "
            f"questions asked{since}"
        )
    return Asked(some, batches.answers, scores)


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
    recites: Side | None,
    voice: Voice,
) -> bool:
    """Whether no claim of the held-out questions waits for more of them, or one has refused.

    A judge that there is none of waits for nothing.
    """
    if recites == "below":
        return True
    judges = known.judges
    topic: Side | None = "above"
    if judges.topic is not None:
        topic = on_topic.stopped_at(
            on_topic.shares_of_candidate(some, answers, judges.topic), of=len(some.questions)
        )
        if topic == "below" and on_topic.refuses(
            on_topic.topic_of(some, answers, judges.topic, scores=scores)
        ):
            return True
    if topic is None or recites is None:
        return False
    if judges.voice is None:
        return True
    return voice_scores.is_decided(voice, parameters=known.base_parameters)


def _ask(
    batches: AnswerBatches,
    positions: Sequence[int],
    some: PromptSet,
    scores: BaseScores,
    *,
    progress: ProgressLines,
) -> None:
    """The candidate what it has not answered, the base what has no score yet."""
    mine = [at for at in positions if at not in batches.candidate]
    wanted = {*positions, *some.with_posts}
    theirs = sorted(at for at in {*scores.missing()} & wanted if at not in batches.base)
    if not mine and not theirs:
        return
    given = len(batches.candidate) + len(batches.base)
    left = len({*some.instructions} - batches.candidate.keys())
    answers = given + len(theirs) + max(len(mine), left)
    progress.expect(served_answers.OF_BOTH, answers, each_s=ANSWER_S)
    batches.ask(mine, of_base=theirs)
