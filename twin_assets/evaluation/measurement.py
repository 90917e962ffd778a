"""Measure one checkpoint's weights and served answers, and compare them with the base model's.

Scope: one run of the gate's plan, from the author's samples to the record. Out of scope: the order
of questions and the stopping rule (`sequential_plan.py`), measures with their thresholds
(`measures/`), and Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from twin_assets.evaluation.evaluation_spec import EvaluationSpec, JudgingContext, ServerStarters
from twin_assets.evaluation.gate import decide_claims
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
    on_topic,
    red_team,
    runner,
    served_parity,
)
from twin_assets.evaluation.measures.held_out_perplexity import MIN_PASSAGES
from twin_assets.evaluation.measures.measure import MeasureContext
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
    BaseScoresFunction,
    GateStage,
    ask_until_decided,
    check_parity_until_decided,
    measure_perplexity_until_decided,
    select_first_questions,
)
from twin_assets.evaluation.served import posts_in_prompt, served_answers
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import (
    FIRST_PARITY_PROMPTS,
    PromptAnswers,
    PromptSet,
)
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.processes.progress_lines import ProgressLines
from twin_resources.prompt.templates import find_template
from twin_resources.quality.judges.texts import WriterSample


def measure_checkpoint(
    spec: EvaluationSpec,
    *,
    stage: GateStage,
    inputs_hash: str,
    starters: ServerStarters,
    cache: MeasurementCache,
    load_judging_context: Callable[[], JudgingContext],
    log: Callable[[str], object],
) -> tuple[Evaluation, tuple[AnswerComparison, ...]]:
    """Measure one checkpoint.

    Args:
        stage: what is measured (`sequential_plan.py`).
        inputs_hash: hash of the inputs, for the record.
        starters: functions that start the servers of candidate and base.
        cache: earlier gates' measurements of the base and the stable version.
        load_judging_context: function that calibrates the judges and reads the author's texts.
        log: function that receives progress lines without post text.

    Returns:
        The evaluation, and the held-out answers of author, candidate and base. The author's are
        the text of posts.

    Raises:
        TwinError: the candidate cannot be served, or the server does not answer as required.
    """
    clock, progress = Clock(), ProgressLines(log)
    with clock.time_part("judges"):
        judging_context = load_judging_context()
    inputs = _prepare_inputs(spec, judging_context, cache, engine=starters.engine, stage=stage)
    if inputs.likelihood_samples.held_out_count < MIN_PASSAGES:
        passage_count = inputs.likelihood_samples.held_out_count
        log(f"not decided: {passage_count} held-out passages, but {MIN_PASSAGES} are needed")
    context, refused_claims = _run_plan(
        inputs, judging_context, starters, clock=clock, progress=progress
    )
    with clock.time_part("scores of answers"):
        measurements = runner.compute_measures(
            context, stage.measures, has_claims_on_request=stage is EVERY_CLAIM
        )
    cache.store(keep_unrequested=stage in {FIRST_VERDICT, REMAINING})
    evaluation = Evaluation(
        checkpoint=spec.checkpoint,
        rests_on=inputs_hash,
        measured=measurements,
        precision=inputs.likelihood_cache.precision,
        seconds=clock.seconds,
        refused_early=refused_claims,
        first=stage is FIRST_VERDICT,
    )
    return evaluation, _pair_answers(inputs.passages, context.prompts, context.answers)


@dataclass(frozen=True)
class _PreparedInputs:
    """The prepared inputs of a measurement.

    Attributes:
        passages: held-out samples, ordered by hash; empty if there are too few.
        training: training samples, ordered by hash.
        likelihood_samples: samples whose likelihoods are computed.
        likelihood_cache: likelihoods that were computed before.
        prompts: prompts of all measures.
        build_base_scores: function that requests the scores of the base's answers.
    """

    spec: EvaluationSpec
    stage: GateStage
    passages: pl.DataFrame
    training: pl.DataFrame
    likelihood_samples: LikelihoodSamples
    likelihood_cache: LikelihoodCache
    prompts: PromptSet
    build_base_scores: BaseScoresFunction


def _prepare_inputs(
    spec: EvaluationSpec,
    judging_context: JudgingContext,
    cache: MeasurementCache,
    *,
    engine: str,
    stage: GateStage,
) -> _PreparedInputs:
    passages = held_out.select_held_out_samples(spec.dataset, trained_on=spec.trained_on)
    training_rows = held_out.shuffle_by_hash(spec.dataset.filter(pl.col("split") == "train"))
    likelihood_samples = _collect_samples(
        spec, passages, judging_context.writer_samples, stage=stage
    )
    if likelihood_samples.held_out_count < MIN_PASSAGES:
        passages = passages.head(0)
    training_texts = training_rows["answer"].to_list()
    return _PreparedInputs(
        spec,
        stage,
        passages,
        training_rows,
        likelihood_samples,
        LikelihoodCache(cache, perplexity.choose_evaluation_precision()),
        _build_prompts(spec, passages, training_rows, judging_context, stage=stage),
        _make_base_scores_builder(
            spec,
            judging_context,
            cache,
            training_texts,
            engine=engine,
            stage=stage,
        ),
    )


def _run_plan(
    inputs: _PreparedInputs,
    judging_context: JudgingContext,
    starters: ServerStarters,
    *,
    clock: Clock,
    progress: ProgressLines,
) -> tuple[MeasureContext, tuple[str, ...]]:
    """Compute the likelihoods and ask the questions according to the plan.

    Returns:
        The shared input of the measures, and the names of claims that refused the candidate before
        any question was asked.
    """
    spec, stage, prompts = inputs.spec, inputs.stage, inputs.prompts
    _expect_answers(
        progress,
        select_first_questions(prompts, stage.min_questions),
        inputs.build_base_scores,
        parity_count=FIRST_PARITY_PROMPTS if served_parity.MEASURE in stage.measures else 0,
    )
    likelihoods = measure_perplexity_until_decided(
        inputs.likelihood_samples,
        spec,
        stage,
        likelihood_cache=inputs.likelihood_cache,
        clock=clock,
        progress=progress,
    )
    with AnswerBatches(
        prompts, serve=starters.candidate, serve_base=starters.base, progress=progress
    ) as batches:
        parity_set = (
            served_answers.build_parity_prompts(
                inputs.passages, inputs.training, template=find_template(spec.template)
            )
            if served_parity.MEASURE in stage.measures
            else []
        )
        answers, parity = check_parity_until_decided(
            spec, parity_set, batches, clock=clock, progress=progress
        )
        scores = inputs.build_base_scores(prompts, batches.answers)
        context = MeasureContext(
            spec, judging_context, likelihoods, prompts, batches.answers, scores, answers, parity,
            inputs.training,
        )  # fmt: skip
        early_claims = decide_claims(
            runner.compute_measures(
                context,
                [gate_measure for gate_measure in stage.measures if gate_measure.needs_no_answers],
            )
        )
        refused_claims = tuple(
            claim.name for claim in early_claims if claim.passed is False and not claim.blocks
        )
        with clock.time_part("served answers"):
            outcome = ask_until_decided(
                prompts,
                judging_context,
                stage,
                batches,
                parity_answers=answers,
                training_texts=context.training_texts,
                build_base_scores=inputs.build_base_scores,
                progress=progress,
                refused_claims=refused_claims,
            )
    return replace(
        context, prompts=outcome.prompts, answers=outcome.answers, scores=outcome.scores
    ), refused_claims


def _collect_samples(
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
    tokenizer = RowTokenizer(spec.base.base_folder)
    template = find_template(spec.template)
    own_samples, incumbent = tokenizer.tokenize(passages.to_dicts()), spec.incumbent
    incumbent_samples = {sample.sample_id: sample for sample in own_samples}
    if incumbent is not None and incumbent.base_folder != spec.base.base_folder:
        tokenized_samples = RowTokenizer(incumbent.base_folder).tokenize(passages.to_dicts())
        incumbent_samples = {sample.sample_id: sample for sample in tokenized_samples}
    chosen_samples = held_out.select_within_budget(
        [sample for sample in own_samples if sample.sample_id in incumbent_samples],
        token_budget=spec.token_budget,
    )
    is_read = held_out_perplexity.MEASURE in stage.measures and len(chosen_samples) >= MIN_PASSAGES
    likelihood_samples = LikelihoodSamples(
        held_out=tuple(chosen_samples) if is_read else (),
        held_out_for_incumbent=tuple(
            incumbent_samples[sample.sample_id] for sample in chosen_samples
        )
        if is_read
        else (),
        own=(),
        other=(),
        general=(),
        held_out_count=len(chosen_samples),
        other_writers=tuple(writer.name for writer in writer_samples),
    )
    if author_control.MEASURE in stage.measures:
        likelihood_samples = replace(
            likelihood_samples,
            own=tuple(tokenizer.tokenize(author_control.build_own_rows(passages, template))),
            other=tuple(
                tokenizer.tokenize(
                    author_control.build_other_rows(passages, writer_samples, template)
                )
            ),
        )
    if stage is EVERY_CLAIM:
        likelihood_samples = replace(
            likelihood_samples,
            general=tuple(tokenizer.tokenize(general_instructions.build_rows())),
            choices=tuple(tokenizer.tokenize(common_knowledge.build_rows())),
        )
    return likelihood_samples


def _build_prompts(
    spec: EvaluationSpec,
    passages: pl.DataFrame,
    training: pl.DataFrame,
    judging_context: JudgingContext,
    *,
    stage: GateStage = EVERY_CLAIM,
) -> PromptSet:
    """Return the prompts of the stage's measures."""
    pairs = held_out.select_training_pairs(spec.dataset)
    prompts = served_answers.build_prompt_set(
        passages,
        pl.concat([training, passages], how="diagonal"),
        template=find_template(spec.template),
        chunk_texts=judging_context.chunk_texts,
        posts=posts_in_prompt.select_posts(pairs) if author_voice.MEASURE in stage.measures else (),
        max_questions=spec.max_questions,
    )
    if instruction_following.MEASURE not in stage.measures:
        prompts = replace(prompts, instructions=range(0))
    if red_team.MEASURE not in stage.measures:
        prompts = replace(prompts, red_team=range(0))
    return prompts


def _make_base_scores_builder(
    spec: EvaluationSpec,
    judging_context: JudgingContext,
    cache: MeasurementCache,
    training_texts: Sequence[str],
    *,
    engine: str,
    stage: GateStage = EVERY_CLAIM,
) -> BaseScoresFunction:
    """Return a function that requests the necessary scores of the base's answers.

    A first verdict requests only the scores that can change its result.
    """
    key_inputs = [
        spec.base.weights_id,
        engine,
        served_answers.ANSWER_TOKENS,
        FREQUENCY_PENALTY,
    ]

    def build_base_scores(prompts: PromptSet, answers: PromptAnswers) -> BaseScores:
        scores, judges = BaseScores(cache, key_inputs, prompts.prompts), judging_context.judges
        if stage is not FIRST_VERDICT:
            runner.request_base_scores(scores, prompts, judges, stage.measures)
            return scores
        if not answers.candidate.keys() >= {*prompts.held_out, *prompts.red_team}:
            return scores  # the necessary scores depend on these answers
        if judges.topic is not None and len(prompts.held_out):
            topic = on_topic.measure_topic(prompts, answers, judges.topic, scores=scores)
            if not topic.has_reached_limit:
                on_topic.request_base_scores(scores, prompts, judges)
        if red_team.should_ask_base(
            red_team.find_candidate_flags(prompts, answers, training_texts)
        ):
            red_team.request_base_flags(scores, prompts, judges)
        return scores

    return build_base_scores


def _expect_answers(
    progress: ProgressLines,
    prompts: PromptSet,
    build_base_scores: BaseScoresFunction,
    *,
    parity_count: int,
) -> None:
    """Set the expected number of steps for parity and for the minimum number of answers."""
    missing_base_answers = build_base_scores(prompts, PromptAnswers({}, {})).find_missing()
    answer_count = (
        len(prompts.held_out)
        + len(prompts.red_team)
        + len(prompts.instructions)
        + len(missing_base_answers)
    )
    with_passages_share = len(prompts.held_out) / max(1, answer_count)
    answer_s = ANSWER_S + with_passages_share * (ANSWER_WITH_PASSAGES_S - ANSWER_S)
    for part, step_count, step_s in (
        (served_answers.SERVED_PART, 2 * parity_count, REPEATED_ANSWER_S),
        (served_answers.REFERENCE_PART, parity_count, REFERENCE_S),
        (served_answers.ANSWERS_PART, answer_count, answer_s),
    ):
        progress.expect(part, step_count, step_s=step_s)


def _pair_answers(
    passages: pl.DataFrame, prompts: PromptSet, answers: PromptAnswers
) -> tuple[AnswerComparison, ...]:
    """Return the held-out questions with all answers, and with ids so that a post can be erased."""
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
