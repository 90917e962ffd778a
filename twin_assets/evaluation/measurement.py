"""Measuring one checkpoint: what its weights and its served answers say beside the base model's.

Belongs here: what models read and are asked, in which order. Does not belong here: measures with
their thresholds (`measures/`), Dagster.

The order is that of cost: weights read passages until those decide (`read_until_decided.py`), the
candidate is served for parity (`parity_until_decided.py`), then candidate and base for everything
that is judged by answers (`until_decided.py`). Whoever is refused by what was read is asked no more
questions than the report shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from twin_assets.evaluation import until_decided
from twin_assets.evaluation.evaluation_spec import (
    EvaluationSpec,
    JudgingContext,
    ServerStarters,
)
from twin_assets.evaluation.gate import decide
from twin_assets.evaluation.likelihood import (
    basics,
    choices,
    control,
    held_out,
    perplexity,
)
from twin_assets.evaluation.likelihood.likelihoods import Likelihoods
from twin_assets.evaluation.likelihood.sample_likelihoods import (
    LikelihoodSamples,
    Tokenizing,
)
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import recitation, runner
from twin_assets.evaluation.measures.held_out_perplexity import FEWEST_PASSAGES
from twin_assets.evaluation.measures.measure import MeasureContext
from twin_assets.evaluation.parity_until_decided import compare_until_decided
from twin_assets.evaluation.progress import Clock, ProgressLines
from twin_assets.evaluation.read_until_decided import read_until_decided
from twin_assets.evaluation.report.evaluation_record import Evaluation, SideBySide
from twin_assets.evaluation.served import posts_in_prompt, served_answers
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import PromptAnswers, PromptSet
from twin_resources.prompt.templates import template_by_hash
from twin_resources.quality.judges.texts import WriterSample


def measure(
    question: EvaluationSpec,
    *,
    rests_on: str,
    served: ServerStarters,
    cache: MeasurementCache,
    beside: Callable[[], JudgingContext],
    log: Callable[[str], object],
) -> tuple[Evaluation, tuple[SideBySide, ...]]:
    """Measure one checkpoint.

    Args:
        rests_on: goes into the record.
        served: servers of candidate and base.
        cache: what former gates have measured of base and stable version.
        beside: calibrates the judges and reads the author's texts.
        log: progress, one line each; never text of a post.

    Returns:
        The numbers, and all held-out answers side by side, which hold text.

    Raises:
        TwinError: the candidate cannot be served, or the server does not answer as it must.
    """
    clock = Clock()
    with clock.part("judges"):
        known = beside()
    passages = held_out.held_out_samples(question.dataset, trained_on=question.trained_on)
    training = held_out.in_drawn_order(question.dataset.filter(pl.col("split") == "train"))
    stored = Likelihoods(cache, perplexity.evaluation_precision())
    reading, left_out = _reading(question, passages, known.hands)
    enough = len(reading.held_out) >= FEWEST_PASSAGES
    if not enough:
        log(f"{reading.found} held-out passages, {FEWEST_PASSAGES} are needed: not decided")
        passages = passages.head(0)
    everything, scores_of = _asked(question, passages, training, known, cache, engine=served.engine)
    progress = ProgressLines(log)
    soon = until_decided.first_questions(everything, until_decided.FEWEST)
    answers_of_candidate = len(everything.prompts) - len(everything.with_posts)
    answers_of_candidate -= len(everything.held_out) - len(soon.held_out)
    served_answers.expect(progress, answers=answers_of_candidate + len(scores_of(soon).missing()))
    read = read_until_decided(reading, question, stored=stored, clock=clock, progress=progress)
    first, compared = compare_until_decided(
        question, passages, training, serve=served.candidate, clock=clock, progress=progress
    )
    nothing = PromptAnswers({}, {}, 0.0, 1)
    read_alone = MeasureContext(
        question, known, read, everything, nothing, scores_of(soon), first, compared, training
    )
    early = decide(runner.take_early(read_alone))
    refused = tuple(one.name for one in early if one.passed is False and not one.blocks)
    said = until_decided.ask_until_decided(
        everything,
        known,
        parity=first,
        training_texts=training["answer"].to_list(),
        scores_of=scores_of,
        served=served,
        clock=clock,
        progress=progress,
        refused=refused,
    )
    prompts, answers = said.asked, said.answers
    with clock.part("scores of answers"):
        context = MeasureContext(
            question, known, read, prompts, answers, said.scores, first, compared, training
        )
        measured = runner.take_all(context)
        copies = recitation.copied(prompts, answers, first, context.training_texts)
    cache.keep()
    mine = read.held_out(question.candidate.name)
    evaluation = Evaluation(
        checkpoint=question.checkpoint,
        rests_on=rests_on,
        measured=measured,
        answer_tokens=sum(mine.tokens) if mine else 0,
        precision=stored.precision,
        left_out=left_out,
        copy_windows=copies.windows,
        copied_from_training=copies.from_training,
        copied_from_prompt=copies.from_prompt,
        parity=compared.numbers() if compared else {},
        seconds=clock.seconds,
        refused_early=refused,
    )
    return evaluation, _shown(passages, prompts, answers)


def _reading(
    question: EvaluationSpec, passages: pl.DataFrame, hands: Sequence[WriterSample]
) -> tuple[LikelihoodSamples, dict[str, int]]:
    """What the models read; the control, the general instructions and
    the common questions also where the passages are
    too few to decide."""
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
    enough = len(chosen) >= FEWEST_PASSAGES
    reading = LikelihoodSamples(
        held_out=tuple(chosen) if enough else (),
        of_incumbent=tuple(theirs[sample.sample_id] for sample in chosen) if enough else (),
        own=tuple(tokenizing.of(control.own_rows(passages, template))),
        other=tuple(tokenizing.of(control.other_rows(passages, hands, template))),
        general=tuple(tokenizing.of(basics.rows())),
        choices=tuple(tokenizing.of(choices.rows())),
        found=len(chosen),
        others=tuple(hand.name for hand in hands),
    )
    return reading, dict(tokenizing.left_out)


def _asked(
    question: EvaluationSpec,
    passages: pl.DataFrame,
    training: pl.DataFrame,
    known: JudgingContext,
    cache: MeasurementCache,
    *,
    engine: str,
) -> tuple[PromptSet, Callable[[PromptSet], BaseScores]]:
    """All prompts, and what makes the scores of the base's answers to some of them."""
    prompts = served_answers.everything_asked(
        passages,
        pl.concat([training, passages], how="diagonal"),
        template=template_by_hash(question.template),
        chunks=known.chunks,
        posts=posts_in_prompt.posts_for_prompt(held_out.training_pairs(question.dataset)),
        questions=question.questions,
    )
    settings_key = [question.base.weights, engine, served_answers.ANSWER_TOKENS]
    told = [*settings_key, served_answers.FREQUENCY_PENALTY]

    def scores_of(some: PromptSet) -> BaseScores:
        scores = BaseScores(cache, told, some.prompts)
        runner.announce(scores, some, known.judges)
        return scores

    return prompts, scores_of


def _shown(
    passages: pl.DataFrame, prompts: PromptSet, answers: PromptAnswers
) -> tuple[SideBySide, ...]:
    """The held-out questions with what each wrote; ids, so that a post can be forgotten."""
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
