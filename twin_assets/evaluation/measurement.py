"""Measure one checkpoint's weights and served answers, and decide the claims about it.

One run of the gate's plan, from the author's samples to the record. The order of questions and the
stopping rule: `sequential_plan.py`. Measures with their thresholds: `measures/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from twin_assets.evaluation.evaluation_spec import EvaluationSpec, JudgingContext, ServerStarters
from twin_assets.evaluation.gate import CLAIMS, decide_claims, select_claims
from twin_assets.evaluation.likelihood import held_out, perplexity
from twin_assets.evaluation.likelihood.likelihoods import LikelihoodCache
from twin_assets.evaluation.likelihood.sample_likelihoods import LikelihoodSamples, RowTokenizer
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import (
    author_control,
    author_voice,
    common_knowledge,
    general_instructions,
    held_out_perplexity,
    instruction_following,
    red_team,
    served_parity,
)
from twin_assets.evaluation.measures.measure import MIN_PASSAGES, MeasureContext
from twin_assets.evaluation.measures.visible_voice import measure_visible_voice
from twin_assets.evaluation.progress import (
    ANSWER_S,
    ANSWER_WITH_PASSAGES_S,
    REFERENCE_S,
    REPEATED_ANSWER_S,
    Clock,
)
from twin_assets.evaluation.report.evaluation_record import AnswerComparison, Evaluation
from twin_assets.evaluation.sequential_plan import (
    EVERY_CLAIM,
    FIRST_VERDICT,
    REMAINING,
    GateStage,
    ask_until_decided,
    check_parity_until_decided,
    read_until_decided,
    request_base_scores,
    select_first_questions,
)
from twin_assets.evaluation.served import posts_in_prompt, served_answers
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import FIRST_PARITY_PROMPTS
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.processes.progress_lines import ProgressLines
from twin_resources.prompt.templates import find_template
from twin_resources.quality.judges.texts import WriterSample


def measure_checkpoint(
    spec: EvaluationSpec,
    judging_context: JudgingContext,
    *,
    stage: GateStage,
    inputs_hash: str,
    starters: ServerStarters,
    cache: MeasurementCache,
    clock: Clock,
    log: Callable[[str], object],
) -> tuple[Evaluation, tuple[AnswerComparison, ...]]:
    """Measure one checkpoint.

    Args:
        judging_context: calibrated judges and the author's texts.
        stage: what is measured (`sequential_plan.py`).
        inputs_hash: hash of the inputs, for the record.
        starters: functions that start the servers of candidate and base.
        cache: earlier gates' measurements of the base and the stable version.
        clock: wall time so far, by part.
        log: function that receives progress lines without post text.

    Returns:
        The evaluation, and the held-out answers of author, candidate and base. The author's are
        the text of posts.

    Raises:
        TwinError: the candidate cannot be served, or the server does not answer as required.
    """
    progress = ProgressLines(log)
    passages = held_out.select_held_out_samples(spec.dataset, trained_on=spec.trained_on)
    samples = collect_samples(spec, passages, judging_context.writer_samples, stage=stage)
    if samples.held_out_count < MIN_PASSAGES:
        passages = passages.head(0)
        log(
            f"not decided: {samples.held_out_count} held-out passages, but {MIN_PASSAGES} are "
            "needed"
        )
    context = prepare_context(
        spec, judging_context, passages, cache, engine=starters.engine, stage=stage
    )
    parity_prompts = (
        served_answers.build_parity_prompts(
            passages, context.training, template=find_template(spec.template)
        )
        if served_parity.MEASURE in stage.measures
        else []
    )
    _expect_answers(context, stage, progress)
    likelihood_cache = LikelihoodCache(cache, perplexity.choose_evaluation_precision())
    context.likelihoods = read_until_decided(
        samples, spec, stage, cache=likelihood_cache, clock=clock, progress=progress
    )
    with AnswerBatches(
        context.prompts, serve=starters.candidate, serve_base=starters.base, progress=progress
    ) as batches:
        check_parity_until_decided(context, parity_prompts, batches, clock=clock, progress=progress)
        early_measures = [measure for measure in stage.measures if measure.needs_no_answers]
        early_claims = select_claims(decide_claims(context, early_measures), CLAIMS)
        refused_claims = tuple(
            claim.name for claim in early_claims if claim.passed is False and not claim.blocks
        )
        with clock.time_part("served answers"):
            ask_until_decided(
                context, stage, batches, progress=progress, refused_claims=refused_claims
            )
    with clock.time_part("scores of answers"):
        claims = decide_claims(context, stage.measures)
        voice = None
        if stage is not FIRST_VERDICT and not context.has_too_few_passages:
            voice = measure_visible_voice(
                context.own_texts,
                base=judging_context.base_answers,
                tuned=context.candidate_texts(context.prompts.held_out),
            )
    cache.store(keep_unrequested=stage in {FIRST_VERDICT, REMAINING})
    ratios = held_out_perplexity.compare_perplexities(spec, context.likelihoods)
    evaluation = Evaluation(
        checkpoint=spec.checkpoint,
        rests_on=inputs_hash,
        claims=claims,
        precision=likelihood_cache.precision,
        seconds=clock.seconds,
        passages=samples.held_out_count,
        perplexity=(
            context.likelihoods.get_held_out(spec.candidate.name).perplexity if ratios else None
        ),
        ratio_to_base=ratios[spec.base.name].value if ratios else None,
        voice=voice,
        refused_early=refused_claims,
        first=stage is FIRST_VERDICT,
    )
    return evaluation, _pair_answers(passages, context)


def collect_samples(
    spec: EvaluationSpec,
    passages: pl.DataFrame,
    writer_samples: Sequence[WriterSample],
    *,
    stage: GateStage = EVERY_CLAIM,
) -> LikelihoodSamples:
    """Tokenize the samples whose likelihoods the stage's measures need.

    The author's and other people's passages without context are read even if there are too few
    held-out passages to decide.
    """
    tokenizer, incumbent = RowTokenizer(spec.base.base_folder), spec.incumbent
    own_samples = incumbent_samples = tokenizer.tokenize(passages.to_dicts())
    if incumbent is not None and incumbent.base_folder != spec.base.base_folder:
        incumbent_samples = RowTokenizer(incumbent.base_folder).tokenize(passages.to_dicts())
    samples_by_id = {sample.sample_id: sample for sample in incumbent_samples}
    chosen_samples = read_samples = held_out.select_within_budget(
        [sample for sample in own_samples if sample.sample_id in samples_by_id],
        token_budget=spec.token_budget,
    )
    if held_out_perplexity.MEASURE not in stage.measures or len(chosen_samples) < MIN_PASSAGES:
        read_samples = []
    control_rows: list[Any] = []
    other_rows: list[Any] = []
    if author_control.MEASURE in stage.measures:
        template = find_template(spec.template)
        control_rows = author_control.build_own_rows(passages, template)
        other_rows = author_control.build_other_rows(passages, writer_samples, template)
    is_every_claim = stage is EVERY_CLAIM
    return LikelihoodSamples(
        held_out=tuple(read_samples),
        held_out_for_incumbent=tuple(samples_by_id[sample.sample_id] for sample in read_samples),
        own=tuple(tokenizer.tokenize(control_rows)),
        other=tuple(tokenizer.tokenize(other_rows)),
        general=tuple(
            tokenizer.tokenize(general_instructions.build_rows() if is_every_claim else [])
        ),
        choices=tuple(tokenizer.tokenize(common_knowledge.build_rows() if is_every_claim else [])),
        held_out_count=len(chosen_samples),
        other_writers=tuple(writer.name for writer in writer_samples),
    )


def prepare_context(
    spec: EvaluationSpec,
    judging_context: JudgingContext,
    passages: pl.DataFrame,
    cache: MeasurementCache,
    *,
    engine: str,
    stage: GateStage = EVERY_CLAIM,
) -> MeasureContext:
    """Return the shared input of the stage's measures, with all prompts that may be asked."""
    training = held_out.shuffle_by_hash(spec.dataset.filter(pl.col("split") == "train"))
    prompts = served_answers.build_prompt_set(
        passages,
        pl.concat([training, passages], how="diagonal"),
        template=find_template(spec.template),
        chunk_texts=judging_context.chunk_texts,
        posts=(
            posts_in_prompt.select_posts(held_out.select_training_pairs(spec.dataset))
            if author_voice.MEASURE in stage.measures
            else ()
        ),
        max_questions=spec.max_questions,
    )
    if instruction_following.MEASURE not in stage.measures:
        prompts = replace(prompts, instructions=range(0))
    if red_team.MEASURE not in stage.measures:
        prompts = replace(prompts, red_team=range(0))
    key_inputs = [spec.base.weights_id, engine, served_answers.ANSWER_TOKENS, FREQUENCY_PENALTY]
    return MeasureContext(
        spec,
        judging_context,
        training,
        prompts,
        BaseScores(cache, key_inputs, prompts.prompts),
        is_first_verdict=stage is FIRST_VERDICT,
    )


def _expect_answers(context: MeasureContext, stage: GateStage, progress: ProgressLines) -> None:
    """Set the expected number of steps for parity and for the minimum number of answers."""
    prompts = context.prompts
    asked_prompts = select_first_questions(prompts, stage.min_questions)
    context.prompts = asked_prompts
    request_base_scores(context, stage)
    context.prompts = prompts
    question_count = len(asked_prompts.held_out)
    answer_count = question_count + len(prompts.red_team) + len(prompts.instructions)
    answer_count += len(context.scores.find_missing())
    with_passages_share = question_count / max(1, answer_count)
    answer_s = ANSWER_S + with_passages_share * (ANSWER_WITH_PASSAGES_S - ANSWER_S)
    parity_count = FIRST_PARITY_PROMPTS if served_parity.MEASURE in stage.measures else 0
    progress.expect(served_answers.SERVED_PART, 2 * parity_count, step_s=REPEATED_ANSWER_S)
    progress.expect(served_answers.REFERENCE_PART, parity_count, step_s=REFERENCE_S)
    progress.expect(served_answers.ANSWERS_PART, answer_count, step_s=answer_s)


def _pair_answers(passages: pl.DataFrame, context: MeasureContext) -> tuple[AnswerComparison, ...]:
    """Return the held-out questions with all answers, and with ids so that a post can be erased."""
    prompts, answers = context.prompts, context.answers
    ids = passages.select("sample_id", "document_id", "chunk_id").head(len(prompts.held_out)).rows()
    return tuple(
        AnswerComparison(
            *ids[index],
            question=prompts.questions[index],
            author=prompts.own_answers[index],
            candidate=answers.candidate[index].text,
            base=answers.base.get(index),
        )
        for index in prompts.held_out
    )
