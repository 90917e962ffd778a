"""Held-out passages of the whole gate, as many as decide what perplexity is asked for.

Belongs here: after how many passages the models' perplexities are looked at, and when that is
enough. Does not belong here: claims and limits (`measures/held_out_perplexity.py`), reading as such
(`likelihood/`), the gate's first part, which looks earlier (`first_part.py`).

Base, candidate, stable version and the best that ever answered read the same passages: the first
30 in drawn order, then 60, then all, until every claim about perplexity is decided. Nats have no
bounds, so that nobody can bet on them as on a share; instead each look asks for more than 95 %
(`statistics/sequential.py`: 99 and 96 % at two looks, 99, 99 and 97 % at three), so that all of
them together are wrong as often as one interval of 95 %, and the interval of the look that stopped
is the one that is told. Thirty are the fewest, as for a voice.

The control, the general instructions and the common questions are read whole at the first look. The
control has as many passages as its claim needs, whose margin is thin: a look in between would cost
more of its level than of its time.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter

from twin_assets.evaluation.evaluation_spec import EvaluationSpec
from twin_assets.evaluation.likelihood import sample_likelihoods
from twin_assets.evaluation.likelihood.likelihoods import Likelihoods
from twin_assets.evaluation.likelihood.sample_likelihoods import (
    LikelihoodSamples,
    LikelihoodsByModel,
)
from twin_assets.evaluation.measures import held_out_perplexity
from twin_assets.evaluation.measures.held_out_perplexity import LOOKS, LOOKS_LEVEL
from twin_assets.evaluation.progress import Clock, ProgressLines
from twin_assets.evaluation.statistics.sequential import planned_looks


def read_until_decided(
    reading: LikelihoodSamples,
    question: EvaluationSpec,
    *,
    stored: Likelihoods,
    clock: Clock,
    progress: ProgressLines,
) -> LikelihoodsByModel:
    """Let the compared models read.

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
    first, *further = planned_looks(passages, LOOKS, level=LOOKS_LEVEL)
    read = read_by(reading.first(first[0]), first[1])
    for end, spent in further:
        if held_out_perplexity.is_decided(held_out_perplexity.compared(question, read)):
            break
        read = read_by(reading.first(end), spent)
    if passages:
        progress.say(f"perplexity: {len(read.reading.held_out)} of {passages} passages read")
    return read
