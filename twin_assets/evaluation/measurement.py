"""Measuring one checkpoint: held-out perplexity, the served model's parity, verbatim copies.

Belongs here: what is measured, on what, in which order. Does not belong here: how each measure is
computed (the modules beside this one), thresholds (`gate.py`), Dagster.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_assets.evaluation import held_out, parity, perplexity, served_model
from twin_assets.evaluation.evaluation_record import Evaluation
from twin_assets.evaluation.gate import FEWEST_PASSAGES, GATE_VERSION, Comparison, Measured
from twin_assets.evaluation.memorisation import CopyRate, verbatim_copy_rate
from twin_assets.training.samples import TokenizedSample, tokenize_samples

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from twin_resources.model_server import RunningServer

MOST_TOKENS = 2048  # of a sample
PARITY_PROMPTS = 20
PARITY_TOKENS = 16  # compared of each answer
PARITY_DRAWN = 4  # of any length, the others are short ones
ANSWER_TOKENS = 40  # generated, for the copy rate

TOLD_EVERY_S = 3.0

Serve = Callable[[], AbstractContextManager["RunningServer"]]


@dataclass(frozen=True)
class Subject:
    """One model to measure.

    Attributes:
        name: `candidate`, `v3`, `base model`.
        base_folder: transformers folder.
        adapter_folder: PEFT folder; None: the base alone.
    """

    name: str
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
    """

    checkpoint: str
    candidate: Subject
    base: Subject
    incumbent: Subject | None
    template: str
    dataset: pl.DataFrame = field(repr=False)
    dataset_version: str
    trained_on: frozenset[str] = field(repr=False)

    def rests_on(self, incumbent_checkpoint: str) -> str:
        """Hash over everything that decides the result."""
        parts = [self.checkpoint, incumbent_checkpoint, self.dataset_version, GATE_VERSION]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def measure(
    question: Question,
    *,
    rests_on: str,
    serve: Serve,
    say: Callable[[str], object],
) -> Evaluation:
    """Measure one checkpoint.

    Args:
        rests_on: goes into the record.
        serve: starts a server of the candidate (a context manager).
        say: progress, one line each; never text of a post.

    Raises:
        TwinError: the candidate cannot be served, or the server does not answer as it must.
    """
    clock = _Clock()
    passages = held_out.held_out_samples(question.dataset, trained_on=question.trained_on)
    samples, left_out = _tokenized(passages, question.candidate.base_folder)
    chosen = held_out.within_budget(samples)
    enough = len(chosen) >= FEWEST_PASSAGES
    precision = perplexity.evaluation_precision()
    likelihoods: dict[str, perplexity.AnswerLikelihood] = {}
    subjects = [question.base, question.candidate]
    subjects += [question.incumbent] if question.incumbent else []
    progress = Progress(say, (len(subjects) * len(chosen) if enough else 0) + 3 * PARITY_PROMPTS)
    if enough:
        for subject in subjects:
            with clock.part(f"perplexity of {subject.name}"):
                likelihoods[subject.name] = _likelihood(subject, chosen, precision, progress)
            say(
                f"{subject.name}: perplexity {likelihoods[subject.name].perplexity:.3f} on "
                f"{len(chosen)} passages in {clock.seconds[f'perplexity of {subject.name}']:.1f} s"
            )
    else:
        say(f"{len(chosen)} held-out passages, {FEWEST_PASSAGES} are needed: not decided")
    compared, copies = _served(question, passages, serve, clock, progress)
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


def _served(
    question: Question,
    passages: pl.DataFrame,
    serve: Serve,
    clock: _Clock,
    progress: Progress,
) -> tuple[parity.Parity | None, CopyRate]:
    """Ask the served candidate, held-out prompts first; training prompts fill up to the number."""
    training = question.dataset.filter(pl.col("split") == "train")
    asked = pl.concat([passages, held_out.in_drawn_order(training)], how="diagonal")
    prompts = held_out.prompts_of(asked, count=PARITY_PROMPTS, drawn=PARITY_DRAWN)
    if not prompts:
        return None, CopyRate(0, 0.0, 0.0)
    with clock.part("served model"), serve() as server:
        advance = progress.of("answers of the served model")
        answers = served_model.ask(server, prompts, max_tokens=ANSWER_TOKENS, advance=advance)
        again = served_model.ask(server, prompts, max_tokens=PARITY_TOKENS, advance=advance)
    with clock.part("reference"):
        reference = parity.Reference(
            question.candidate.base_folder, question.candidate.adapter_folder
        )
        first = parity.shortened(answers, PARITY_TOKENS)
        advance = progress.of("reference of the served model")
        compared = parity.compare(reference, prompts, first, again, advance=advance)
    found = "every answer was empty"
    if compared is not None:
        found = f"log-probabilities differ by {compared.mean:.4f} on average and "
        found += f"{compared.largest:.4f} at most over {compared.compared} values"
    progress.say(f"served model: {found}")
    copies = verbatim_copy_rate(
        [answer.text for answer in answers],
        ["\n".join(message["content"] for message in prompt) for prompt in prompts],
        training["answer"].to_list(),
    )
    return compared, copies


class Progress:
    """Lines `progress {step, steps, eta_s, message}` for whoever follows the run.

    A step is a passage, an answer or a prompt: about a second each on two cores.

    Args:
        say: gets the lines.
        steps: how many there will be at most.
    """

    def __init__(self, say: Callable[[str], object], steps: int) -> None:
        self.say = say
        self._steps = steps
        self._done = 0
        self._started = self._told = time.monotonic()

    def of(self, message: str) -> Callable[[int], None]:
        """What to call with the number of steps that one part has made."""

        def advance(steps: int) -> None:
            self._done = min(self._done + steps, self._steps)
            now = time.monotonic()
            if now - self._told >= TOLD_EVERY_S:
                self._told = now
                left = (now - self._started) / self._done * (self._steps - self._done)
                report = {"step": self._done, "steps": self._steps, "message": message}
                self.say("progress " + json.dumps(report | {"eta_s": round(left)}))

        return advance


@dataclass
class _Clock:
    """Wall seconds by part."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 2)
