"""Measuring one checkpoint: perplexity, the served model's parity, topic and verbatim copies.

Belongs here: what is measured, on what, in which order. Does not belong here: how each measure is
computed (the modules beside this one), thresholds (`gate.py`), Dagster.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.evaluation import held_out, parity, perplexity, served_answers, served_model
from twin_assets.evaluation.evaluation_record import Evaluation
from twin_assets.evaluation.gate import (
    FEWEST_PASSAGES,
    GATE_VERSION,
    Comparison,
    Measured,
    OnTopic,
)
from twin_assets.evaluation.kept_values import KeptValues
from twin_assets.evaluation.likelihoods import Likelihoods
from twin_assets.evaluation.progress import Clock, Progress
from twin_assets.training.samples import TokenizedSample, tokenize_samples
from twin_resources.judging.topic import TopicJudge, TopicNotCalibrated
from twin_resources.prompt import template_by_hash

if TYPE_CHECKING:
    from collections import Counter

MOST_TOKENS = 2048  # of a sample


@dataclass(frozen=True)
class Served:
    """Starts a server of either model (context managers)."""

    candidate: served_model.Serve
    base: served_model.Serve


@dataclass(frozen=True)
class Subject:
    """One model to measure.

    Attributes:
        name: `candidate`, `v3`, `base model`.
        weights: names the weights: a checkpoint's hash, or the revision of a base model.
        base_folder: transformers folder.
        adapter_folder: PEFT folder; None: the base alone.
    """

    name: str
    weights: str
    base_folder: Path
    adapter_folder: Path | None = None


@dataclass(frozen=True)
class Question:
    """What shall be measured.

    Attributes:
        checkpoint: hash of the candidate.
        candidate, base: models; `incumbent`: the stable version, None when there is none.
        template: hash that the checkpoint names.
        dataset: rows of `instruction_dataset`, all splits.
        dataset_version: its data version.
        trained_on: document ids of the training sets of candidate and incumbent.
        token_budget: tokens of held-out passages that perplexity reads for each model.
    """

    checkpoint: str
    candidate: Subject
    base: Subject
    incumbent: Subject | None
    template: str
    dataset: pl.DataFrame = field(repr=False)
    dataset_version: str
    trained_on: frozenset[str] = field(repr=False)
    token_budget: int

    def rests_on(self, incumbent_checkpoint: str) -> str:
        """Hash over everything that decides the result."""
        parts: list[str | int] = [self.checkpoint, incumbent_checkpoint, self.dataset_version]
        parts += [GATE_VERSION, self.token_budget]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def measure(
    question: Question,
    *,
    rests_on: str,
    served: Served,
    kept: KeptValues,
    topic: Callable[[], TopicJudge],
    say: Callable[[str], object],
) -> Evaluation:
    """Measure one checkpoint.

    Args:
        rests_on: goes into the record.
        served: servers of candidate and base.
        kept: what former gates have measured of base and stable version.
        topic: the topic score, calibrated on this author; raises TwinError where it cannot be.
        say: progress, one line each; never text of a post.

    Raises:
        TwinError: the candidate cannot be served, or the server does not answer as it must.
    """
    clock = Clock()
    passages = held_out.held_out_samples(question.dataset, trained_on=question.trained_on)
    samples, left_out = _tokenized(passages, question.candidate.base_folder)
    chosen = held_out.within_budget(samples, token_budget=question.token_budget)
    enough = len(chosen) >= FEWEST_PASSAGES
    precision = perplexity.evaluation_precision()
    likelihoods: dict[str, perplexity.AnswerLikelihood] = {}
    subjects = [question.base, question.candidate]
    subjects += [question.incumbent] if question.incumbent else []
    stored = Likelihoods(kept, precision)
    unknown = sum(len(stored.unknown(subject.weights, chosen)) for subject in subjects)
    progress = Progress(say, (unknown if enough else 0) + served_answers.STEPS)
    if enough:
        for subject in subjects:
            with clock.part(f"perplexity of {subject.name}"):
                likelihoods[subject.name] = stored.of(
                    subject.weights,
                    chosen,
                    lambda missing, subject=subject: _likelihood(
                        subject, missing, precision, progress
                    ),
                )
            say(
                f"{subject.name}: perplexity {likelihoods[subject.name].perplexity:.3f} on "
                f"{len(chosen)} passages in {clock.seconds[f'perplexity of {subject.name}']:.1f} s"
            )
    else:
        say(f"{len(chosen)} held-out passages, {FEWEST_PASSAGES} are needed: not decided")
    training = held_out.in_drawn_order(question.dataset.filter(pl.col("split") == "train"))
    answers = served_answers.ask_candidate(
        passages,
        training,
        template=template_by_hash(question.template),
        serve=served.candidate,
        clock=clock,
        progress=progress,
    )
    compared = _parity(question, answers, clock, progress)
    on_topic, why_not = None, ""
    asked: served_answers.TopicAnswers | None = None
    if enough:
        asked, on_topic, why_not = _topic(
            question, passages, served, kept=kept, topic=topic, clock=clock, progress=progress
        )
        kept.keep()
    copies = served_answers.copies(answers, asked, training["answer"].to_list())
    mine = likelihoods.get(question.candidate.name)
    measured = Measured(
        passages=len(chosen),
        perplexity=mine.perplexity if mine else None,
        base=_comparison(question.base, likelihoods, mine),
        incumbent=_comparison(question.incumbent, likelihoods, mine),
        incumbent_name=question.incumbent.name if question.incumbent else "",
        template=question.template,
        dataset_templates=tuple(sorted(question.dataset["template"].unique())),
        parity_mean=compared.mean if compared else None,
        parity_largest=compared.largest if compared else None,
        parity_prompts=compared.prompts if compared else 0,
        on_topic=on_topic,
        on_topic_why_not=why_not,
    )
    return Evaluation(
        checkpoint=question.checkpoint,
        rests_on=rests_on,
        measured=measured,
        answer_tokens=sum(mine.tokens) if mine else 0,
        precision=precision,
        left_out=dict(left_out),
        copy_windows=copies.windows,
        copied_from_training=copies.from_training,
        copied_from_prompt=copies.from_prompt,
        parity=asdict(compared) if compared else {},
        seconds=clock.seconds,
    )


def _topic(
    question: Question,
    passages: pl.DataFrame,
    served: Served,
    *,
    kept: KeptValues,
    topic: Callable[[], TopicJudge],
    clock: Clock,
    progress: Progress,
) -> tuple[served_answers.TopicAnswers, OnTopic | None, str]:
    """Answers to held-out questions and what topic says of them, or why it says nothing."""
    asking = served_answers.topic_questions(passages)
    judge, why_not, names = None, "", list[str]()
    try:
        with clock.part("topic scale"):
            judge = topic()
        names = asking.names(judge, base=question.base.weights)
    except TopicNotCalibrated as error:
        why_not = f"{error.found}: {error.next_step}"
    asked = served_answers.ask_both(
        asking,
        of_base=kept.unknown(names),
        serve=served.candidate,
        serve_base=served.base,
        clock=clock,
        progress=progress,
    )
    if judge is None:
        return asked, None, why_not
    with clock.part("topic scores"):
        compared = served_answers.compare_topic(
            asked,
            judge=judge,
            base_scores=lambda compute: kept.of(names, compute),
            progress=progress,
        )
    return asked, compared, ""


def _tokenized(rows: pl.DataFrame, base_folder: Path) -> tuple[list[TokenizedSample], Counter[str]]:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base_folder)
    return tokenize_samples(rows.to_dicts(), tokenizer, max_length=MOST_TOKENS)


def _likelihood(
    subject: Subject, samples: Sequence[TokenizedSample], precision: str, progress: Progress
) -> perplexity.AnswerLikelihood:
    model = perplexity.load_model(subject.base_folder, subject.adapter_folder, precision=precision)
    return perplexity.answer_likelihood(
        model, samples, advance=progress.of(f"perplexity of {subject.name}")
    )


def _comparison(
    other: Subject | None,
    likelihoods: Mapping[str, perplexity.AnswerLikelihood],
    mine: perplexity.AnswerLikelihood | None,
) -> Comparison | None:
    if other is None or mine is None:
        return None
    theirs = likelihoods[other.name]
    ratio = perplexity.perplexity_ratio(mine, theirs)
    return Comparison(other.name, theirs.perplexity, ratio.ratio, ratio.low, ratio.high)


def _parity(
    question: Question, answers: served_answers.CandidateAnswers, clock: Clock, progress: Progress
) -> parity.Parity | None:
    if not answers.prompts:
        return None
    with clock.part("reference"):
        reference = parity.Reference(
            question.candidate.base_folder, question.candidate.adapter_folder
        )
        compared = parity.compare(
            reference,
            answers.prompts,
            parity.shortened(answers.first, served_answers.PARITY_TOKENS),
            answers.again,
            advance=progress.of("reference of the served model"),
        )
    found = "every answer was empty"
    if compared is not None:
        found = f"log-probabilities differ by {compared.mean:.4f} on average and "
        found += f"{compared.largest:.4f} at most over {compared.compared} values"
    progress.say(f"served model: {found}")
    return compared
