"""Measure one checkpoint: its weights and its served answers, beside those of the base model.

Scope: one run of the gate's plan, from the author's samples to the record. Out of
scope: the order of questions and when to stop (`sequential_plan.py`), measures with their
thresholds (`measures/`), Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from twin_assets.evaluation.evaluation_spec import EvaluationSpec, JudgingContext, ServerStarters
from twin_assets.evaluation.gate import decide
from twin_assets.evaluation.likelihood import held_out, perplexity
from twin_assets.evaluation.likelihood.likelihoods import Likelihoods
from twin_assets.evaluation.likelihood.sample_likelihoods import LikelihoodSamples, Tokenizing
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import (
    author_control,
    common_knowledge,
    general_instructions,
    on_topic,
    red_team,
    runner,
)
from twin_assets.evaluation.measures.held_out_perplexity import MIN_PASSAGES
from twin_assets.evaluation.measures.measure import MeasureContext
from twin_assets.evaluation.progress import Clock, ProgressLines
from twin_assets.evaluation.report.evaluation_record import Evaluation, SideBySide
from twin_assets.evaluation.sequential_plan import (
    FIRST,
    WHOLE,
    GateStage,
    ScoresOf,
    ask_until_decided,
    compare_until_decided,
    first_questions,
    read_until_decided,
)
from twin_assets.evaluation.served import posts_in_prompt, served_answers
from twin_assets.evaluation.served.answer_batches import AnswerBatches
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.prompt.templates import template_by_hash
from twin_resources.quality.judges.texts import WriterSample


def measure(
    question: EvaluationSpec,
    *,
    first: bool,
    rests_on: str,
    served: ServerStarters,
    cache: MeasurementCache,
    beside: Callable[[], JudgingContext],
    log: Callable[[str], object],
) -> tuple[Evaluation, tuple[SideBySide, ...]]:
    """Measure one checkpoint.

    Args:
        first: whether to measure only what a first verdict needs (`sequential_plan.FIRST`).
        rests_on: hash of the inputs, for the record.
        served: servers of candidate and base.
        cache: measurements of base and stable version by earlier gates.
        beside: function that calibrates the judges and reads the author's texts.
        log: function for progress, one line each, never with text of a post.

    Returns:
        The numbers, and the held-out answers side by side, which contain text.

    Raises:
        TwinError: the candidate cannot be served, or the server does not answer as required.
    """
    clock, progress = Clock(), ProgressLines(log)
    with clock.part("judges"):
        known = beside()
    prepared = _prepared(question, known, cache, engine=served.engine, first=first)
    if len(prepared.reading.held_out) < MIN_PASSAGES:
        found = prepared.reading.found
        log(f"{found} held-out passages, {MIN_PASSAGES} are needed: not decided")
    context, refused = _carried_out(prepared, known, served, clock=clock, progress=progress)
    with clock.part("scores of answers"):
        measured = runner.take(context, prepared.stage.measures)
    cache.keep(others=first)
    mine = context.read.held_out(question.candidate.name)
    evaluation = Evaluation(
        checkpoint=question.checkpoint,
        rests_on=rests_on,
        measured=measured,
        answer_tokens=sum(mine.tokens) if mine else 0,
        precision=prepared.stored.precision,
        left_out=prepared.left_out,
        parity=context.parity.numbers() if context.parity else {},
        seconds=clock.seconds,
        refused_early=refused,
        first=first,
    )
    return evaluation, _shown(prepared.passages, context.asked, context.said)


@dataclass(frozen=True)
class _Prepared:
    """Inputs of the models.

    Attributes:
        passages: held-out samples in drawn order; none if there are too few.
        training: training samples in drawn order.
        reading: samples for the models to read.
        left_out: number of samples left out, by reason.
        stored: likelihoods that were computed before.
        prompts: prompts of all measures.
        scores_of: function that returns the required scores of the base's answers.
    """

    question: EvaluationSpec
    stage: GateStage
    passages: pl.DataFrame
    training: pl.DataFrame
    reading: LikelihoodSamples
    left_out: dict[str, int]
    stored: Likelihoods
    prompts: PromptSet
    scores_of: ScoresOf


def _prepared(
    question: EvaluationSpec,
    known: JudgingContext,
    cache: MeasurementCache,
    *,
    engine: str,
    first: bool,
) -> _Prepared:
    passages = held_out.held_out_samples(question.dataset, trained_on=question.trained_on)
    training = held_out.in_drawn_order(question.dataset.filter(pl.col("split") == "train"))
    reading, left_out = _reading(question, passages, known.hands, first=first)
    if len(reading.held_out) < MIN_PASSAGES:
        passages = passages.head(0)
    texts = training["answer"].to_list()
    return _Prepared(
        question,
        FIRST if first else WHOLE,
        passages,
        training,
        reading,
        left_out,
        Likelihoods(cache, perplexity.evaluation_precision()),
        _asked(question, passages, training, known, first=first),
        _scores_of(question, known, cache, texts, engine=engine, first=first),
    )


def _carried_out(
    prepared: _Prepared,
    known: JudgingContext,
    served: ServerStarters,
    *,
    clock: Clock,
    progress: ProgressLines,
) -> tuple[MeasureContext, tuple[str, ...]]:
    """Read and ask according to the plan.

    Returns:
        The shared input of the measures, and the claims that refused before any question.
    """
    question, stage, prompts = prepared.question, prepared.stage, prepared.prompts
    _expect(progress, first_questions(prompts, stage.fewest), prepared.scores_of)
    read = read_until_decided(
        prepared.reading, question, stage, stored=prepared.stored, clock=clock, progress=progress
    )
    with AnswerBatches(
        prompts, serve=served.candidate, serve_base=served.base, progress=progress
    ) as batches:
        parity_set = served_answers.parity_prompts(
            prepared.passages, prepared.training, template=template_by_hash(question.template)
        )
        answers, compared = compare_until_decided(
            question, parity_set, batches, clock=clock, progress=progress
        )
        scores = prepared.scores_of(prompts, batches.answers)
        context = MeasureContext(
            question, known, read, prompts, batches.answers, scores, answers, compared,
            prepared.training,
        )  # fmt: skip
        early = decide(runner.take(context, [one for one in stage.measures if one.early]))
        refused = tuple(one.name for one in early if one.passed is False and not one.blocks)
        with clock.part("served answers"):
            asked = ask_until_decided(
                prompts,
                known,
                stage,
                batches,
                parity=answers,
                training_texts=context.training_texts,
                scores_of=prepared.scores_of,
                progress=progress,
                refused=refused,
            )
    return replace(context, asked=asked.prompts, said=asked.answers, scores=asked.scores), refused


def _reading(
    question: EvaluationSpec,
    passages: pl.DataFrame,
    hands: Sequence[WriterSample],
    *,
    first: bool = False,
) -> tuple[LikelihoodSamples, dict[str, int]]:
    """Return the samples for the models. A first verdict needs no control, general instructions or
    common questions; otherwise these are read even if there are too few passages to decide."""
    tokenizing = Tokenizing(question.base.base_folder)
    template = template_by_hash(question.template)
    mine, incumbent = tokenizing.of(passages.to_dicts()), question.incumbent
    theirs = {sample.sample_id: sample for sample in mine}
    if incumbent is not None and incumbent.base_folder != question.base.base_folder:
        other = Tokenizing(incumbent.base_folder).of(passages.to_dicts())
        theirs = {sample.sample_id: sample for sample in other}
    chosen = held_out.within_budget(
        [sample for sample in mine if sample.sample_id in theirs],
        token_budget=question.token_budget,
    )
    enough = len(chosen) >= MIN_PASSAGES
    reading = LikelihoodSamples(
        held_out=tuple(chosen) if enough else (),
        of_incumbent=tuple(theirs[sample.sample_id] for sample in chosen) if enough else (),
        own=(),
        other=(),
        general=(),
        found=len(chosen),
        others=tuple(hand.name for hand in hands),
    )
    if not first:
        reading = replace(
            reading,
            own=tuple(tokenizing.of(author_control.own_rows(passages, template))),
            other=tuple(tokenizing.of(author_control.other_rows(passages, hands, template))),
            general=tuple(tokenizing.of(general_instructions.rows())),
            choices=tuple(tokenizing.of(common_knowledge.rows())),
        )
    return reading, dict(tokenizing.left_out)


def _asked(
    question: EvaluationSpec,
    passages: pl.DataFrame,
    training: pl.DataFrame,
    known: JudgingContext,
    *,
    first: bool = False,
) -> PromptSet:
    """Return the prompts of all measures; a first verdict omits instructions and posts."""
    pairs = held_out.training_pairs(question.dataset)
    prompts = served_answers.everything_asked(
        passages,
        pl.concat([training, passages], how="diagonal"),
        template=template_by_hash(question.template),
        chunks=known.chunks,
        posts=() if first else posts_in_prompt.posts_for_prompt(pairs),
        questions=question.questions,
    )
    return replace(prompts, instructions=range(0)) if first else prompts


def _scores_of(
    question: EvaluationSpec,
    known: JudgingContext,
    cache: MeasurementCache,
    training_texts: Sequence[str],
    *,
    engine: str,
    first: bool = False,
) -> ScoresOf:
    """Return a function for the required scores of the base's answers. A first verdict requires
    only those that can change the result beside the candidate's answers."""
    told = [
        question.base.weights,
        engine,
        served_answers.ANSWER_TOKENS,
        FREQUENCY_PENALTY,
    ]

    def scores_of(some: PromptSet, answers: PromptAnswers) -> BaseScores:
        scores, judges = BaseScores(cache, told, some.prompts), known.judges
        if not first:
            runner.announce(scores, some, judges)
            return scores
        if not answers.candidate.keys() >= {*some.held_out, *some.red_team}:
            return scores  # before these answers, the required scores are unknown
        if judges.topic is not None and len(some.held_out):
            topic = on_topic.topic_of(some, answers, judges.topic, scores=scores)
            if not topic.reaches_the_limit:
                on_topic.announce_base(scores, some, judges)
        if red_team.needs_the_base(red_team.candidate_flags(some, answers, training_texts)):
            red_team.announce_flags(scores, some, judges)
        return scores

    return scores_of


def _expect(progress: ProgressLines, soon: PromptSet, scores_of: ScoresOf) -> None:
    """Announce parity and the minimum number of answers."""
    of_base = scores_of(soon, PromptAnswers({}, {})).missing()
    answers = len(soon.held_out) + len(soon.red_team) + len(soon.instructions) + len(of_base)
    served_answers.expect(progress, answers=answers)


def _shown(
    passages: pl.DataFrame, prompts: PromptSet, answers: PromptAnswers
) -> tuple[SideBySide, ...]:
    """Return the held-out questions with all answers, and with ids so that a post can be erased."""
    ids = passages.select("sample_id", "document_id", "chunk_id").head(len(prompts.held_out)).rows()
    return tuple(
        SideBySide(
            *ids[at],
            question=prompts.questions[at],
            author=prompts.own[at],
            candidate=answers.candidate[at].text,
            base=answers.base.get(at),
        )
        for at in prompts.held_out
    )
