"""Prompts of the whole gate's parity, as many as tell if the served model is the trained one.

Belongs here: after how many prompts that is looked at. Does not belong here: the set
(`served/served_answers.py`), comparing (`served/parity.py`), limits and the claim
(`measures/served_parity.py`), the gate's first part, which has servers that stay up
(`first_part.py`).

Eight prompts, each asked twice; twenty where a bet on the mean difference is not won by then, as in
the first part. A server with wrong weights is off on every prompt.
"""
# pyright: strict

from __future__ import annotations

import polars as pl

from twin_assets.evaluation.evaluation_spec import EvaluationSpec
from twin_assets.evaluation.measures import served_parity
from twin_assets.evaluation.progress import AGAIN_S, REFERENCE_S, Clock, ProgressLines
from twin_assets.evaluation.served import parity, served_answers
from twin_assets.evaluation.served.parity import Parity
from twin_assets.evaluation.served.served_answers import PARITY_FIRST, CandidateAnswers
from twin_resources.models.serving.served_model import Serve
from twin_resources.prompt.templates import template_by_hash


def compare_until_decided(
    question: EvaluationSpec,
    passages: pl.DataFrame,
    training: pl.DataFrame,
    *,
    serve: Serve,
    clock: Clock,
    progress: ProgressLines,
) -> tuple[CandidateAnswers, Parity | None]:
    """Ask the candidate and hold its answers against transformers + PEFT.

    Args:
        passages, training: as `served_answers.parity_prompts` takes them.

    Returns:
        Its answers, and what they show; None: every answer was empty, or there was no prompt.

    Raises:
        TwinError: it cannot be served, or does not answer as it must.
    """
    template = template_by_hash(question.template)
    prompts = served_answers.parity_prompts(passages, training, template=template)
    answers = served_answers.ask_candidate(
        prompts[:PARITY_FIRST], serve=serve, clock=clock, progress=progress
    )
    if not prompts:
        return answers, None
    with clock.part("reference"):
        reference = parity.Reference(
            question.candidate.base_folder, question.candidate.adapter_folder
        )

    def compared() -> Parity | None:
        with clock.part("reference"):
            return parity.compare(
                reference,
                answers.prompts,
                parity.shortened(answers.first, served_answers.PARITY_TOKENS),
                answers.again,
                precision=question.candidate.precision,
                advance=progress.of(served_answers.REFERENCE),
            )

    found, rest = compared(), prompts[PARITY_FIRST:]
    if rest and (found is None or served_parity.is_open(found)):
        progress.expect(served_answers.OF_SERVED, 2 * len(prompts), each_s=AGAIN_S)
        progress.expect(served_answers.REFERENCE, PARITY_FIRST + len(prompts), each_s=REFERENCE_S)
        more = served_answers.ask_candidate(rest, serve=serve, clock=clock, progress=progress)
        answers = CandidateAnswers(
            prompts, [*answers.first, *more.first], [*answers.again, *more.again]
        )
        found = compared()
    progress.say(f"served model: {parity.told(found)}")
    return answers, found
