"""Run the gate's plan: read passages and ask questions in order until the claims are decided.

Scope: the order, the extent of the two kinds of verdict, and deciding when each step ends.
Out of scope: claims and thresholds (`measures/`), deciding a claim about a mean
(`statistics/sequential.py`), servers (`served/answer_batches.py`), and the record
(`measurement.py`).

The plan begins with harm and with whether the candidate has learned anything:

    1. perplexity   all compared models read the same passages, with interim looks; each look spends
                    part of the 5 % (`statistics/sequential.py`); the last interval is reported
    2. parity       8 prompts asked twice; 20 if a betting test on the mean difference is undecided
    3. red team     all 36 prompts
    4. questions    in random order, a few at a time, until betting tests have decided topic and
                    recitation (and the voice, on request); recitation covers every answer
    5. others       instructions, and the texts that the other measures read and score

A stage asks and reads only what its measures need. Without a stable version, the base model answers
readers until the gate has released one. For a first verdict (`FIRST_VERDICT`), the plan therefore
looks earlier, and asks the base only if its answers can change a claim. After the release, the
remaining measures of the gate are taken (`REMAINING`); if they do not pass, the release is
withdrawn. With a stable version, the whole gate (`FULL_GATE`) is decided at once. Only on request
(`EVERY_CLAIM`) are the instructions asked, the general texts read, and the voices compared. A first
verdict never counts as the whole gate (`gate.is_full_gate`).

A candidate refused by steps 1 to 3 is asked only `min_questions` questions, for the report. A
candidate refused by topic or recitation is asked no further questions. The voice and the judging of
single sentences need at least thirty questions. The base with posts has the longest prompts, so it
is no longer asked once the candidate has beaten it in a betting test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twin_assets.evaluation.evaluation_spec import EvaluationSpec, JudgingContext
from twin_assets.evaluation.likelihood import sample_likelihoods
from twin_assets.evaluation.likelihood.likelihoods import LikelihoodCache
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
from twin_assets.evaluation.progress import (
    ANSWER_S,
    REFERENCE_S,
    REPEATED_ANSWER_S,
    Clock,
)
from twin_assets.evaluation.served import parity, served_answers
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.parity import Parity
from twin_assets.evaluation.served.served_answers import (
    FIRST_PARITY_PROMPTS,
    CandidateAnswers,
    PromptAnswers,
    PromptSet,
)
from twin_assets.evaluation.statistics.sequential import Side, plan_looks
from twin_resources.processes.progress_lines import ProgressLines


@dataclass(frozen=True)
class GateStage:
    """The extent of the plan for one kind of verdict.

    Attributes:
        measures: measures that are computed.
        looks: numbers of passages after which perplexity is compared, before the last look at all
            passages.
        min_questions: number of held-out questions asked first; without the topic's claim, no
            further questions are asked.
        questions_per_step: number of questions added at a time.
    """

    measures: tuple[Measure[Any], ...]
    looks: tuple[int, ...]
    min_questions: int
    questions_per_step: int


def is_on_request(measure: Measure[Any]) -> bool:
    """Return whether a measure has claims, and none of them can refuse a version."""
    return bool(measure.claims) and all(rule.is_on_request for rule in measure.claims)


FIRST_VERDICT = GateStage(
    tuple(
        measure for measure in MEASURES if any(rule.is_in_first_verdict for rule in measure.claims)
    ),
    looks=(15, 30),
    min_questions=8,
    questions_per_step=4,
)
FULL_GATE = GateStage(
    tuple(measure for measure in MEASURES if not is_on_request(measure)),
    looks=(30, 60),
    min_questions=30,
    questions_per_step=5,
)
REMAINING = replace(
    FULL_GATE,
    measures=tuple(
        measure for measure in FULL_GATE.measures if measure not in FIRST_VERDICT.measures
    ),
)
EVERY_CLAIM = replace(FULL_GATE, measures=MEASURES)
LOOKS_LEVEL = 0.05  # error rate of all looks together

# Requests the necessary scores of the base's answers, given the answers so far.
BaseScoresFunction = Callable[[PromptSet, PromptAnswers], BaseScores]


@dataclass(frozen=True)
class AnsweredPrompts:
    """The prompts that were asked, with their answers.

    Attributes:
        prompts: prompts of all measures, with only the held-out questions that were asked.
        answers: answers to the prompts.
        scores: scores of the base's answers.
    """

    prompts: PromptSet
    answers: PromptAnswers
    scores: BaseScores


def measure_perplexity_until_decided(
    likelihood_samples: LikelihoodSamples,
    spec: EvaluationSpec,
    stage: GateStage,
    *,
    likelihood_cache: LikelihoodCache,
    clock: Clock,
    progress: ProgressLines,
) -> LikelihoodsByModel:
    """Compute the models' likelihoods until every claim about perplexity is decided.

    The comparison uses interim looks, because nats are unbounded, and a betting test needs bounded
    values. All control passages, general instructions and common questions are read at the first
    look. The control's margin is small, so looks before its end would cost too much confidence for
    the time saved.

    Args:
        likelihood_samples: samples with all held-out passages that may be read, in random order.

    Returns:
        The likelihoods of the passages that decided the claims, with the level of their intervals.
    """
    expected_counts: Counter[str] = Counter()

    def compute(samples: LikelihoodSamples, spent_level: float) -> LikelihoodsByModel:
        return sample_likelihoods.compute_likelihoods(
            samples,
            spec,
            cache=likelihood_cache,
            clock=clock,
            progress=progress,
            level=1.0 - spent_level,
            expected_counts=expected_counts,
        )

    passage_count = len(likelihood_samples.held_out)
    (first_end, first_level), *later_looks = plan_looks(
        passage_count, stage.looks, level=LOOKS_LEVEL
    )
    likelihoods = compute(likelihood_samples.select_first(first_end), first_level)
    for end, spent_level in later_looks:
        if held_out_perplexity.is_decided(
            held_out_perplexity.compare_perplexities(spec, likelihoods)
        ):
            break
        likelihoods = compute(likelihood_samples.select_first(end), spent_level)
    if passage_count:
        progress.write_line(
            f"perplexity: {len(likelihoods.samples.held_out)} of {passage_count} passages read"
        )
    return likelihoods


def check_parity_until_decided(
    spec: EvaluationSpec,
    prompts: Sequence[list[Any]],
    batches: AnswerBatches,
    *,
    clock: Clock,
    progress: ProgressLines,
) -> tuple[CandidateAnswers, Parity | None]:
    """Ask the served candidate and compare its answers with those of transformers + PEFT.

    Args:
        prompts: as returned by `served_answers.build_parity_prompts`.

    Returns:
        The answers and their parity. The parity is None if every answer was empty or there was no
        prompt.

    Raises:
        TwinError: the candidate cannot be served, or its answers are invalid.
    """
    answers, parity_result = CandidateAnswers([], [], []), None
    if not prompts:
        return answers, None
    with clock.time_part("reference"):
        reference = parity.ReferenceModel(spec.candidate.base_folder, spec.candidate.adapter_folder)
    compared_count = 0
    for batch in (prompts[:FIRST_PARITY_PROMPTS], prompts[FIRST_PARITY_PROMPTS:]):
        if not batch or (
            parity_result is not None and not served_parity.is_undecided(parity_result)
        ):
            break
        asked_count = len(answers.prompts) + len(batch)
        compared_count += asked_count
        progress.expect(served_answers.SERVED_PART, 2 * asked_count, step_s=REPEATED_ANSWER_S)
        progress.expect(served_answers.REFERENCE_PART, compared_count, step_s=REFERENCE_S)
        with clock.time_part("served model"):
            new_answers = batches.ask_twice([reference.strip(prompt) for prompt in batch])
        answers = CandidateAnswers(
            [*answers.prompts, *new_answers.prompts],
            [*answers.first_answers, *new_answers.first_answers],
            [*answers.repeated_answers, *new_answers.repeated_answers],
        )
        with clock.time_part("reference"):
            parity_result = parity.compare(
                reference,
                answers.prompts,
                parity.truncate_answers(answers.first_answers, served_answers.PARITY_TOKENS),
                answers.repeated_answers,
                precision=spec.candidate.precision,
                advance=progress.make_step_recorder(served_answers.REFERENCE_PART),
            )
    progress.write_line(f"served model: {parity.describe_parity(parity_result)}")
    return answers, parity_result


def ask_until_decided(
    prompts: PromptSet,
    judging_context: JudgingContext,
    stage: GateStage,
    batches: AnswerBatches,
    *,
    parity_answers: CandidateAnswers,
    training_texts: Sequence[str],
    build_base_scores: BaseScoresFunction,
    progress: ProgressLines,
    refused_claims: Sequence[str] = (),
) -> AnsweredPrompts:
    """Ask red-team prompts and held-out questions until all claims are decided, then instructions.

    Args:
        prompts: prompts with all held-out questions that may be asked, in random order.
        parity_answers: the candidate's answers to the parity set, which may also recite.
        refused_claims: claims that refused the candidate before these questions.

    Raises:
        TwinError: one of the models cannot be served, or its answers are invalid.
    """
    training_index = recitation.TrainingTextIndex(training_texts)
    asked_prompts = select_first_questions(prompts, min(stage.min_questions, len(prompts.held_out)))
    while True:
        positions = [*asked_prompts.red_team, *asked_prompts.held_out]
        scores_before = build_base_scores(asked_prompts, batches.answers)
        _ask(batches, positions, asked_prompts, scores_before, progress=progress)
        # the candidate's answers may change which scores of the base are needed
        scores = build_base_scores(asked_prompts, batches.answers)
        _ask(batches, positions, asked_prompts, scores, progress=progress)
        answers = batches.answers
        if not refused_claims and red_team.has_failed_claim(
            asked_prompts, answers, scores, training_texts
        ):
            refused_claims = [red_team.MEASURE.claims[0].name]
        if (
            refused_claims
            or on_topic.MEASURE not in stage.measures
            or len(asked_prompts.held_out) == len(prompts.held_out)
        ):
            break
        recitation_side = recitation.decide_early(
            asked_prompts, answers, parity_answers, training_index
        )
        voice = author_voice.compare_voices(asked_prompts, answers, scores, judging_context.judges)
        if is_decided(
            asked_prompts,
            answers,
            judging_context,
            scores=scores,
            recitation_side=recitation_side,
            voice=voice,
        ):
            break
        next_count = min(
            len(asked_prompts.held_out) + stage.questions_per_step, len(prompts.held_out)
        )
        beats_posts = voice.against_all is not None and voice.against_all.posts_stopped == "above"
        asked_prompts = select_first_questions(
            prompts,
            next_count,
            with_posts_count=len(asked_prompts.with_posts) if beats_posts else next_count,
        )
    _ask(batches, asked_prompts.instructions, asked_prompts, scores, progress=progress)
    if len(asked_prompts.held_out):
        refusal = f"; already refused by {', '.join(refused_claims)}" if refused_claims else ""
        progress.write_line(
            f"answers: {len(asked_prompts.held_out)} of {len(prompts.held_out)} held-out questions "
            f"asked{refusal}"
        )
    return AnsweredPrompts(asked_prompts, batches.answers, scores)


def select_first_questions(
    prompts: PromptSet, count: int, *, with_posts_count: int | None = None
) -> PromptSet:
    """Return the prompts of all measures with only the first `count` held-out questions.

    Args:
        with_posts_count: number of these questions that the base is asked with the author's posts,
            or None for all.
    """
    posts = prompts.with_posts[: count if with_posts_count is None else with_posts_count]
    return replace(prompts, held_out=prompts.held_out[:count], with_posts=posts)


def is_decided(
    prompts: PromptSet,
    answers: PromptAnswers,
    judging_context: JudgingContext,
    *,
    scores: BaseScores,
    recitation_side: Side | None,
    voice: Voice,
) -> bool:
    """Return whether the answers decide all claims about questions, or one refuses the candidate.

    A claim without a judge needs no questions.
    """
    if recitation_side == "below":
        return True
    judges = judging_context.judges
    topic: Side | None = "above"
    if judges.topic is not None:
        topic = on_topic.decide_early(
            on_topic.compute_candidate_shares(prompts, answers, judges.topic),
            population_size=len(prompts.questions),
        )
        if topic == "below":
            measured = on_topic.measure_topic(prompts, answers, judges.topic, scores=scores)
            return not on_topic.is_decided_by_base(measured)
    if topic is None or recitation_side is None:
        return False
    if judges.voice is None:
        return True
    return voice_scores.is_decided(voice)


def _ask(
    batches: AnswerBatches,
    positions: Sequence[int],
    prompts: PromptSet,
    scores: BaseScores,
    *,
    progress: ProgressLines,
) -> None:
    """Ask the candidate the unanswered prompts, and the base the prompts without a score."""
    candidate_positions = [position for position in positions if position not in batches.candidate]
    targets = {*positions, *prompts.with_posts}
    base_positions = sorted(
        position for position in {*scores.find_missing()} & targets if position not in batches.base
    )
    if not candidate_positions and not base_positions:
        return
    answered_count = len(batches.candidate) + len(batches.base)
    missing_count = len({*prompts.instructions} - batches.candidate.keys())
    answer_count = (
        answered_count + len(base_positions) + max(len(candidate_positions), missing_count)
    )
    progress.expect(served_answers.ANSWERS_PART, answer_count, step_s=ANSWER_S)
    batches.ask(candidate_positions, base_positions=base_positions)
