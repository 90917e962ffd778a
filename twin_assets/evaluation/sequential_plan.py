"""Run the gate's plan: read passages and ask questions in order until the claims are decided.

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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from twin_assets.evaluation.evaluation_spec import EvaluationSpec
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
)
from twin_assets.evaluation.measures.measure import Measure, MeasureContext
from twin_assets.evaluation.progress import ANSWER_S, REFERENCE_S, REPEATED_ANSWER_S, Clock
from twin_assets.evaluation.served import parity, served_answers
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.served_answers import FIRST_PARITY_PROMPTS, PromptSet
from twin_assets.evaluation.statistics.sequential import plan_looks
from twin_resources.processes.progress_lines import ProgressLines


@dataclass(frozen=True)
class GateStage:
    """The extent of the plan for one kind of verdict.

    Attributes:
        measures: measures that are taken.
        looks: numbers of passages after which perplexity is compared, before the last look at all
            passages.
        min_questions: number of held-out questions asked first; without the topic's claim, no
            further questions are asked.
        questions_per_step: number of questions added at a time.
    """

    measures: tuple[Measure, ...]
    looks: tuple[int, ...]
    min_questions: int
    questions_per_step: int


FIRST_VERDICT = GateStage(
    tuple(
        measure for measure in MEASURES if any(rule.is_in_first_verdict for rule in measure.claims)
    ),
    looks=(15, 30),
    min_questions=8,
    questions_per_step=4,
)
FULL_GATE = GateStage(
    tuple(measure for measure in MEASURES if not measure.is_on_request),
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


def read_until_decided(
    samples: LikelihoodSamples,
    spec: EvaluationSpec,
    stage: GateStage,
    *,
    cache: LikelihoodCache,
    clock: Clock,
    progress: ProgressLines,
) -> LikelihoodsByModel:
    """Compute the models' likelihoods until every claim about perplexity is decided.

    The comparison uses interim looks, because nats are unbounded, and a betting test needs bounded
    values. All control passages, general instructions and common questions are read at the first
    look. The control's margin is small, so looks before its end would cost too much confidence for
    the time saved.

    Args:
        samples: samples with all held-out passages that may be read, in random order.

    Returns:
        The likelihoods of the passages that decided the claims, with the level of their intervals.
    """
    expected_counts: Counter[str] = Counter()
    likelihoods = LikelihoodsByModel()
    passage_count = len(samples.held_out)
    for end, spent_level in plan_looks(passage_count, stage.looks, level=LOOKS_LEVEL):
        likelihoods = sample_likelihoods.compute_likelihoods(
            samples.select_first(end),
            spec,
            cache=cache,
            clock=clock,
            progress=progress,
            level=1.0 - spent_level,
            expected_counts=expected_counts,
        )
        ratios = held_out_perplexity.compare_perplexities(spec, likelihoods)
        if held_out_perplexity.is_decided(spec, ratios):
            break
    if passage_count:
        progress.write_line(
            f"perplexity: {len(likelihoods.samples.held_out)} of {passage_count} passages read"
        )
    return likelihoods


def check_parity_until_decided(
    context: MeasureContext,
    prompts: Sequence[list[Any]],
    batches: AnswerBatches,
    *,
    clock: Clock,
    progress: ProgressLines,
) -> None:
    """Ask the served candidate and compare its answers with those of transformers + PEFT.

    The answers and their comparison are added to the context.

    Args:
        prompts: as returned by `served_answers.build_parity_prompts`.

    Raises:
        TwinError: the candidate cannot be served, or its answers are invalid.
    """
    if not prompts:
        return
    candidate, answers = context.spec.candidate, context.parity_answers
    with clock.time_part("reference"):
        reference = parity.ReferenceModel(candidate.base_folder, candidate.adapter_folder)
    compared_count = 0
    for batch in (prompts[:FIRST_PARITY_PROMPTS], prompts[FIRST_PARITY_PROMPTS:]):
        if not batch or (context.parity and not served_parity.is_undecided(context.parity)):
            break
        asked_count = len(answers.prompts) + len(batch)
        compared_count += asked_count
        progress.expect(served_answers.SERVED_PART, 2 * asked_count, step_s=REPEATED_ANSWER_S)
        progress.expect(served_answers.REFERENCE_PART, compared_count, step_s=REFERENCE_S)
        with clock.time_part("served model"):
            batches.ask_twice([reference.strip(prompt) for prompt in batch], answers)
        with clock.time_part("reference"):
            context.parity = parity.compare(
                reference,
                answers.prompts,
                parity.truncate_answers(answers.first_answers, served_answers.PARITY_TOKENS),
                answers.repeated_answers,
                precision=candidate.precision,
                advance=progress.make_step_recorder(served_answers.REFERENCE_PART),
            )
    progress.write_line(f"served model: {parity.describe_parity(context.parity)}")


def ask_until_decided(
    context: MeasureContext,
    stage: GateStage,
    batches: AnswerBatches,
    *,
    progress: ProgressLines,
    refused_claims: Sequence[str] = (),
) -> None:
    """Ask red-team prompts and held-out questions until all claims are decided, then instructions.

    Args:
        context: its prompts have all held-out questions that may be asked, in random order;
            afterwards only those that were asked.
        refused_claims: claims that refused the candidate before these questions.

    Raises:
        TwinError: one of the models cannot be served, or its answers are invalid.
    """
    prompts, context.answers = context.prompts, batches.answers
    question_count = len(prompts.held_out)
    context.prompts = select_first_questions(prompts, min(stage.min_questions, question_count))
    while True:
        positions = [*context.prompts.red_team, *context.prompts.held_out]
        for _ in range(2):  # the candidate's answers may change which scores of the base are needed
            request_base_scores(context, stage)
            _ask(context, batches, positions, progress=progress)
        refused_claims = refused_claims or [
            claim.name for claim in red_team.MEASURE.decide_claims(context) if claim.passed is False
        ]
        asked_count = len(context.prompts.held_out)
        if (
            refused_claims
            or on_topic.MEASURE not in stage.measures
            or asked_count == question_count
            or is_decided(context)
        ):
            break
        next_count = min(asked_count + stage.questions_per_step, question_count)
        voice = author_voice.score_voices(context)
        beats_posts = voice is not None and author_voice.beats_posts(voice) == "above"
        posts_count = len(context.prompts.with_posts) if beats_posts else next_count
        context.prompts = select_first_questions(prompts, next_count, with_posts_count=posts_count)
    _ask(context, batches, context.prompts.instructions, progress=progress)
    if asked_count:
        refusal = f"; already refused by {', '.join(refused_claims)}" if refused_claims else ""
        progress.write_line(
            f"answers: {asked_count} of {question_count} held-out questions asked{refusal}"
        )


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


def request_base_scores(context: MeasureContext, stage: GateStage) -> None:
    """Request the scores of the base's answers that the stage needs, given the answers so far."""
    context.scores.forget_requests()
    for measure in stage.measures:
        measure.request_base_scores(context)


def is_decided(context: MeasureContext) -> bool:
    """Return whether the answers decide all claims about questions, or one refuses the candidate.

    A claim without a judge needs no questions.
    """
    sides = [
        recitation.place_claim(recitation.measure_all_answers(context)),
        on_topic.place_claim(context),
    ]
    if "below" in sides:
        return True
    if None in sides:
        return False
    voice = author_voice.score_voices(context)
    return voice is None or author_voice.place_claim(voice) is not None


def _ask(
    context: MeasureContext,
    batches: AnswerBatches,
    positions: Sequence[int],
    *,
    progress: ProgressLines,
) -> None:
    """Ask the candidate the unanswered prompts, and the base the prompts without a score."""
    candidate, base = batches.answers.candidate, batches.answers.base
    candidate_positions = [position for position in positions if position not in candidate]
    targets = {*positions, *context.prompts.with_posts}
    base_positions = sorted({*context.scores.find_missing()} & targets - base.keys())
    if not candidate_positions and not base_positions:
        return
    missing_count = len({*context.prompts.instructions} - candidate.keys())
    answer_count = len(candidate) + len(base) + len(base_positions)
    answer_count += max(len(candidate_positions), missing_count)
    progress.expect(served_answers.ANSWERS_PART, answer_count, step_s=ANSWER_S)
    batches.ask(candidate_positions, base_positions=base_positions)
