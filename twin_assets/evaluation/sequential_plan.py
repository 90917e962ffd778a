"""Run the gate's plan: read passages and ask questions in order until the claims are decided.

Scope: the order, the two points where a verdict is given, deciding when each step ends.
Out of scope: claims and thresholds (`measures/`), deciding a claim about a mean
(`statistics/sequential.py`), servers (`served/answer_batches.py`), the record (`measurement.py`).

Harm, and whether the candidate learnt anything at all, are measured first:

    1. perplexity   all compared models read the same passages, in looks; each look spends a part of
                    5 % (`statistics/sequential.py`), and the interval of the last look is reported
    2. parity       8 prompts asked twice; 20 if no bet on the mean difference is won by then
    3. red team     all 36 prompts
    4. questions    in random order, a few at a time, until bets have decided topic and recitation
                    (and the voice, in the whole gate); recitation covers every answer
    5. the rest     instructions, and the texts that the other measures read and score

Without a stable version the base model answers meanwhile, and a reader waits for the gate. So for a
first verdict (`FIRST`) the plan stops after step 4, looks earlier, and asks the base only if its
answers can change a claim. The whole gate (`WHOLE`) runs all steps; if it does not pass, the
release is withdrawn. A first verdict never counts as the whole gate (`gate.is_whole`).

A candidate that steps 1 to 3 refuse is asked only `fewest` questions, for the report. One that
topic or recitation refuses is asked no more. The voice, and sentences judged one by one, need at
least thirty questions. The base with posts has the longest prompts, so it is asked no more once
the candidate has won its bet.
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
    """The extent of the plan for one kind of verdict.

    Attributes:
        measures: measures that are taken.
        looks: numbers of passages after which perplexity is compared; the last look is at all.
        fewest: number of held-out questions asked first.
        step: number of questions added at a time.
    """

    measures: tuple[Measure[Any], ...]
    looks: tuple[int, ...]
    fewest: int
    step: int


FIRST = GateStage(
    tuple(measure for measure in MEASURES if any(rule.first for rule in measure.claims)),
    looks=(15, 30),
    fewest=8,
    step=4,
)
WHOLE = GateStage(MEASURES, looks=(30, 60), fewest=30, step=5)
LOOKS_LEVEL = 0.05  # of all looks together

# Return the scores of the base's answers that are needed, given the answers so far.
ScoresOf = Callable[[PromptSet, PromptAnswers], BaseScores]


@dataclass(frozen=True)
class Asked:
    """The prompts that were asked, with their answers.

    Attributes:
        prompts: prompts of all measures, with the held-out questions that were asked.
        answers: answers to the prompts.
        scores: scores of the base's answers.
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

    Looks are used because nats are unbounded, and a bet needs bounds. Control, general instructions
    and common questions are read whole at the first look. The control's margin is thin, so earlier
    looks would cost more confidence than they save time.

    Args:
        reading: samples with all held-out passages that may be read, in random order.

    Returns:
        The likelihoods, with the passages that decided and the level of their intervals.
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
            break
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
    """Ask the served candidate and compare its answers with those of transformers + PEFT.

    Args:
        prompts: as returned by `served_answers.parity_prompts`.

    Returns:
        The answers and their parity. The parity is None if every answer was empty or there was no
        prompt.

    Raises:
        TwinError: the candidate cannot be served, or its answers are invalid.
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
        prompts: prompts with all held-out questions that may be asked, in random order.
        parity: the candidate's answers to the parity set, which may recite as well.
        refused: claims that refused the candidate before these questions.

    Raises:
        TwinError: one of the models cannot be served, or its answers are invalid.
    """
    training = recitation.TrainingSpans(training_texts)
    some = first_questions(prompts, min(stage.fewest, len(prompts.held_out)))
    while True:
        positions, wanted = [*some.red_team, *some.held_out], scores_of(some, batches.answers)
        _ask(batches, positions, some, wanted, progress=progress)
        # the candidate's answers may change which scores of the base are needed
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
    """Return the prompts of all measures with only the first `count` held-out questions.

    Args:
        below_posts: how many of these the base is asked with the author's posts, or None for all.
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
    """Whether no claim needs more held-out questions, or one has refused the candidate.

    A claim without a judge needs no questions.
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
    """Ask the candidate the unanswered prompts, and the base those without a score."""
    of_candidate = [at for at in positions if at not in batches.candidate]
    targets = {*positions, *some.with_posts}
    of_base = sorted(at for at in {*scores.missing()} & targets if at not in batches.base)
    if not of_candidate and not of_base:
        return
    answered = len(batches.candidate) + len(batches.base)
    left = len({*some.instructions} - batches.candidate.keys())
    answers = answered + len(of_base) + max(len(of_candidate), left)
    progress.expect(served_answers.OF_BOTH, answers, each_s=ANSWER_S)
    batches.ask(of_candidate, of_base=of_base)
