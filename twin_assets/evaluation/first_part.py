"""The first part of a gate: what must be known before a first model answers anybody.

Belongs here: which prompts, in which order, and when each claim is decided.
Does not belong here: claims and thresholds (`measures/`), the whole gate (`measurement.py`), when a
claim about a mean is decided (`statistics/sequential.py`), Dagster.

Without a stable version the base model answers meanwhile, so that a reader waits for the gate. Here
each claim gets as many prompts as decide it:

    perplexity   looks at 15, 30 and all passages, at 99, 99 and 97 %: together 95 % (`at_looks`)
    topic        the candidate's questions in drawn order, bets on either side of .8 after 8 and
                 every 4 more: what all of them (40 at most) would say; met is wrong with at most
                 5 %, not met with at most 1 %; the base only where the candidate is below
    parity       8 prompts asked twice, by the same bet; 20 where that is not enough
    red team     all 36; the base only where the candidate's own rates leave it a say
    recitation   every answer that was given; more questions where these do not decide

Not met is the stricter of the two, because nobody looks again at what was refused, whereas the
whole gate follows what was released (`judgement.complete_evaluation`), asks everything, and takes
it back where it finds otherwise.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.evaluation.evaluation_spec import EvaluationSpec, ServerStarters
from twin_assets.evaluation.harm import harmful_answers, memorisation
from twin_assets.evaluation.harm.harmful_answers import Safety
from twin_assets.evaluation.harm.memorisation import Recitation
from twin_assets.evaluation.likelihood import held_out, perplexity, sample_likelihoods
from twin_assets.evaluation.likelihood.likelihoods import Likelihoods
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.likelihood.sample_likelihoods import Tokenizing
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.measures import (
    held_out_perplexity,
    on_topic,
    prompt_template,
    recitation,
    red_team,
    served_parity,
)
from twin_assets.evaluation.measures.held_out_perplexity import (
    FEWEST_PASSAGES,
    HeldOutPerplexity,
    PerplexityRatio,
)
from twin_assets.evaluation.measures.measure import Measure, Measurements
from twin_assets.evaluation.measures.on_topic import OnTopic
from twin_assets.evaluation.progress import ANSWER_S, REFERENCE_S, Clock, ProgressLines, read_s
from twin_assets.evaluation.report.evaluation_record import Evaluation
from twin_assets.evaluation.served import parity, served_answers
from twin_assets.evaluation.served.base_scores import BaseScores
from twin_assets.evaluation.served.served_answers import CandidateAnswers, PromptSet
from twin_assets.evaluation.served.waves import ServerWaves
from twin_assets.evaluation.statistics.sequential import Side, decided, planned_looks
from twin_resources.models.serving.served_model import Prompt, ServedAnswer
from twin_resources.prompt.templates import template_by_hash
from twin_resources.quality.judges.topic import TopicJudge
from twin_resources.statistics.permutation_auc import CHANCE

LOOKS = (15, 30)  # passages; the last look is at all of them
LEVEL = 0.05
FIRST_WAVE, WAVE = 8, 4
MOST_QUESTIONS = 40  # of the 100 that the whole gate asks; 30 decided for every gate before
EXPECTED_QUESTIONS = 20
WRONGLY_MET, WRONGLY_UNMET = 0.05, 0.01


@dataclass(frozen=True)
class FirstJudges:
    """What answers are scored with; without a topic score, why there is none."""

    topic: TopicJudge | None
    topic_why_not: str = ""
    chunks: dict[str, str] | None = None


def measure_first(
    question: EvaluationSpec,
    *,
    rests_on: str,
    served: ServerStarters,
    cache: MeasurementCache,
    beside: Callable[[], FirstJudges],
    log: Callable[[str], object],
) -> Evaluation:
    """Measure a candidate as far as `gate.decide_first` needs it.

    Args:
        question: without an incumbent; the other arguments as of `measurement.measure`.

    Raises:
        TwinError: the candidate cannot be served, or the server does not answer as it must.
    """
    clock = Clock()
    with clock.part("judges"):
        known = beside()
    samples = held_out.held_out_samples(question.dataset, trained_on=question.trained_on)
    training = held_out.in_drawn_order(question.dataset.filter(pl.col("split") == "train"))
    tokenizing = Tokenizing(question.base.base_folder)
    passages = held_out.within_budget(
        tokenizing.of(samples.to_dicts()), token_budget=question.token_budget
    )
    count, enough = len(passages), len(passages) >= FEWEST_PASSAGES
    if not enough:
        log(f"{count} held-out passages, {FEWEST_PASSAGES} are needed: not decided")
        samples, passages = samples.head(0), []
    progress = ProgressLines(log)
    stored = Likelihoods(cache, perplexity.evaluation_precision())
    prompts = served_answers.everything_asked(
        samples,
        pl.concat([training, samples], how="diagonal"),
        template=template_by_hash(question.template),
        chunks=known.chunks or {},
        posts=(),
        questions=min(question.questions, MOST_QUESTIONS),
    )
    _expect(progress, question, passages, prompts, stored)

    comparison, mine = _read(question, passages, stored=stored, clock=clock, progress=progress)
    talk = _Talk(question, served, prompts, known, cache, progress)
    with (
        ServerWaves(
            prompts, serve=served.candidate, serve_base=served.base, progress=progress
        ) as waves,
        clock.part("served answers"),
    ):
        topic, others = talk.until_on_topic(waves, samples, training)
        compared = talk.parity(waves, others, samples, training, clock=clock)
        texts = training["answer"].to_list()
        harmless = talk.red_team(waves, texts)
        recited = talk.until_recited(waves, others, texts)
    cache.keep(others=True)
    answers = waves.said()
    copies = recitation.copied(prompts, answers, others, texts)
    documents = sample_likelihoods.documents_of(passages[: len(mine.tokens)]) if mine else []
    taken: list[tuple[Measure[Any], object]] = [
        (
            held_out_perplexity.MEASURE,
            HeldOutPerplexity(
                passages=count,
                perplexity=mine.perplexity if mine else None,
                base=comparison,
                incumbent=None,
                incumbent_name="",
                perplexity_interval=(
                    perplexity.perplexity_of(mine, documents=documents, level=comparison.level)
                    if mine and comparison
                    else None
                ),
            ),
        ),
        (prompt_template.MEASURE, prompt_template.hashes_of(question)),
        (served_parity.MEASURE, served_parity.parity_figures(compared)),
        (on_topic.MEASURE, topic),
        (recitation.MEASURE, recited),
        (red_team.MEASURE, harmless),
    ]
    values = {measure.name: value for measure, value in taken if value is not None}
    measured = Measurements(values, why_not=_why_not(known))
    return Evaluation(
        checkpoint=question.checkpoint,
        rests_on=rests_on,
        measured=measured,
        answer_tokens=sum(mine.tokens) if mine else 0,
        precision=stored.precision,
        left_out=dict(tokenizing.left_out),
        copy_windows=copies.windows,
        copied_from_training=copies.from_training,
        copied_from_prompt=copies.from_prompt,
        parity=compared.numbers() if compared else {},
        seconds=clock.seconds,
    )


def _why_not(known: FirstJudges) -> dict[str, str]:
    reasons = {harmful_answers.CLAIM: red_team.NO_PROMPTS.why}
    if known.topic is None and known.topic_why_not:
        reasons[on_topic.CLAIM] = known.topic_why_not
    return reasons


def _expect(
    progress: ProgressLines,
    question: EvaluationSpec,
    passages: Sequence[TokenizedSample],
    prompts: PromptSet,
    stored: Likelihoods,
) -> None:
    """Announce what is expected, not the most that there could be."""
    first = list(passages[: LOOKS[0]])
    for subject in (question.base, question.candidate):
        unknown = len(stored.unknown(subject.weights, first))
        progress.expect(
            sample_likelihoods.reading_of(subject), unknown, each_s=read_s(stored.precision)
        )
    questions = min(EXPECTED_QUESTIONS, len(prompts.held_out))
    answers = questions + FIRST_WAVE + len(prompts.red_team)
    progress.expect(served_answers.OF_BOTH, answers, each_s=ANSWER_S)
    progress.expect(served_answers.REFERENCE, FIRST_WAVE, each_s=REFERENCE_S)


def _read(
    question: EvaluationSpec,
    passages: Sequence[TokenizedSample],
    *,
    stored: Likelihoods,
    clock: Clock,
    progress: ProgressLines,
) -> tuple[PerplexityRatio | None, AnswerLikelihood | None]:
    """Perplexities of candidate and base on as many passages as tell which is the smaller."""
    if not passages:
        return None, None
    comparison, mine = None, None
    with clock.part("likelihoods"):
        for end, spent in planned_looks(len(passages), LOOKS, level=LEVEL):
            some = list(passages[:end])
            for subject in (question.base, question.candidate):
                progress.expect(
                    sample_likelihoods.reading_of(subject), end, each_s=read_s(stored.precision)
                )
            theirs, mine = (
                sample_likelihoods.likelihoods_of(subject, some, stored=stored, progress=progress)
                for subject in (question.base, question.candidate)
            )
            comparison = _compared(question, theirs, mine, some, level=1.0 - spent)
            if comparison.high < 1.0 or comparison.low > 1.0:
                break
    assert comparison is not None
    progress.say(
        f"perplexity {comparison.ratio:.3f} of the base's on {comparison.passages} of "
        f"{len(passages)} passages ({clock.seconds['likelihoods']:.0f} s)"
    )
    return comparison, mine


def _compared(
    question: EvaluationSpec,
    theirs: AnswerLikelihood,
    mine: AnswerLikelihood,
    passages: Sequence[TokenizedSample],
    *,
    level: float,
) -> PerplexityRatio:
    documents = sample_likelihoods.documents_of(passages)
    ratio = perplexity.perplexity_ratio(mine, theirs, documents=documents, level=level)
    return PerplexityRatio(
        question.base.name,
        theirs.perplexity,
        ratio.value,
        ratio.low,
        ratio.high,
        perplexity.perplexity_of(theirs, documents=documents, level=level),
        level=level,
        passages=len(passages),
    )


class _Talk:
    """What the served models are asked, claim by claim."""

    def __init__(
        self,
        question: EvaluationSpec,
        served: ServerStarters,
        prompts: PromptSet,
        known: FirstJudges,
        cache: MeasurementCache,
        progress: ProgressLines,
    ) -> None:
        self._question, self._asked, self._known = question, prompts, known
        self._progress = progress
        settings_key = [question.base.weights, served.engine, served_answers.ANSWER_TOKENS]
        self._scores = BaseScores(
            cache, [*settings_key, served_answers.FREQUENCY_PENALTY], prompts.prompts
        )
        self._recited: list[float] = []

    def until_on_topic(
        self, waves: ServerWaves, samples: pl.DataFrame, training: pl.DataFrame
    ) -> tuple[OnTopic | None, CandidateAnswers]:
        """Held-out questions until the topic score is decided; the first ones asked twice.

        Where there are none, or no topic score, the candidate alone says what parity compares.

        Returns:
            What was found, and answers to prompts that are not among those of all measures.
        """
        prompts, judge = self._asked, self._known.topic
        if not len(prompts.held_out):
            few = pl.concat([samples, training], how="diagonal").head(FIRST_WAVE)
            return None, waves.ask_others(held_out.prompts_of(few))
        first = prompts.held_out[:FIRST_WAVE]
        if judge is None:
            waves.ask(first, again=True)
            return None, CandidateAnswers([], [], [])
        end, stopped = 0, None
        while end < len(prompts.held_out) and stopped is None:
            start, end = end, min(end + (WAVE if end else FIRST_WAVE), len(prompts.held_out))
            self._foresee(waves, more=end - start)
            waves.ask(prompts.held_out[start:end], again=not start)
            shares = on_topic.shares_of_first(end, prompts, waves.said(), judge)
            stopped = on_topic.stopped_at(shares, of=len(prompts.held_out))
        topic = self._topic(waves, judge, end, stopped)
        self._foresee(waves, more=0, at_least=0)
        own = topic.own
        assert own is not None
        self._progress.say(
            f"topic: nearer to its own question {own.value:.2f} of the time ({own.low:.2f} to "
            f"{own.high:.2f}; {CHANCE:.2f} is chance) on {topic.questions} of "
            f"{topic.of_questions} questions"
        )
        return topic, CandidateAnswers([], [], [])

    def _topic(
        self, waves: ServerWaves, judge: TopicJudge, count: int, stopped: Side | None
    ) -> OnTopic:
        """The measure on the first questions; the base answers them where that has a say."""
        prompts = self._asked
        alone = on_topic.topic_of_first(
            count, prompts, waves.said(), judge, scores=None, stopped=stopped
        )
        if alone.reaches_the_limit:
            return alone
        on_topic.announce_base(self._scores, prompts, judge, count)
        of_base = self._scores.missing()
        self._foresee(waves, more=len(of_base))
        waves.ask((), of_base=of_base)
        return on_topic.topic_of_first(
            count, prompts, waves.said(), judge, scores=self._scores, stopped=stopped
        )

    def _foresee(
        self, waves: ServerWaves, *, more: int, at_least: int = EXPECTED_QUESTIONS
    ) -> None:
        """Announce the answers that there will be: those given, those asked for, the red team."""
        given = len(waves.candidate) + len(waves.base) + len(waves.again)
        red_team = len([at for at in self._asked.red_team if at not in waves.candidate])
        answers = max(given + more, at_least) + red_team
        self._progress.expect(served_answers.OF_BOTH, answers, each_s=ANSWER_S)

    def parity(
        self,
        waves: ServerWaves,
        others: CandidateAnswers,
        samples: pl.DataFrame,
        training: pl.DataFrame,
        *,
        clock: Clock,
    ) -> parity.Parity | None:
        """The first answers against transformers + PEFT, and more of them where that is open."""
        positions = sorted(waves.again)
        prompts = [*(self._asked.prompts[at] for at in positions), *others.prompts]
        once = [*(waves.candidate[at] for at in positions), *others.first]
        again = [*(waves.again[at] for at in positions), *others.again]
        if not prompts:
            return None
        with clock.part("reference"):
            reference = parity.Reference(
                self._question.candidate.base_folder, self._question.candidate.adapter_folder
            )
            compared = self._compare(reference, prompts, once, again)
            if compared is not None and served_parity.is_open(compared):
                more = pl.concat([samples, training], how="diagonal").slice(
                    len(prompts), served_answers.PARITY_PROMPTS - len(prompts)
                )
                template = template_by_hash(self._question.template)
                further = waves.ask_others(held_out.questions_alone(more, template))
                compared = self._compare(
                    reference,
                    [*prompts, *further.prompts],
                    [*once, *further.first],
                    [*again, *further.again],
                )
        return compared

    def _compare(
        self,
        reference: parity.Reference,
        prompts: Sequence[Prompt],
        once: Sequence[ServedAnswer],
        again: Sequence[ServedAnswer],
    ) -> parity.Parity | None:
        self._progress.expect(served_answers.REFERENCE, len(prompts), each_s=REFERENCE_S)
        compared = parity.compare(
            reference,
            prompts,
            parity.shortened(once, served_answers.PARITY_TOKENS),
            again,
            precision=self._question.candidate.precision,
            advance=self._progress.of(served_answers.REFERENCE),
        )
        self._progress.say(f"served model: {parity.told(compared)}")
        return compared

    def red_team(self, waves: ServerWaves, training_texts: Sequence[str]) -> Safety | None:
        """All red-team prompts; the base is asked only where its answers can matter."""
        prompts = self._asked
        if not len(prompts.red_team):
            return None
        waves.ask_candidate(prompts.red_team)
        mine = red_team.candidate_flags(prompts, waves.said(), training_texts)
        if not harmful_answers.needs_the_base(mine):
            return harmful_answers.compare(mine, None)
        red_team.announce_flags(self._scores, prompts)
        waves.ask((), of_base=[at for at in self._scores.missing() if at in prompts.red_team])
        return red_team.compare_flags(prompts, waves.said(), self._scores, training_texts)

    def until_recited(
        self, waves: ServerWaves, others: CandidateAnswers, training_texts: Sequence[str]
    ) -> Recitation:
        """All answers, and further ones until they say whether it recites."""
        prompts, training = self._asked, memorisation.TrainingSpans(training_texts)
        while True:
            recited = recitation.recited(prompts, waves.said(), others, training)
            new = recited.reciting.of - len(self._recited)
            reciting = recited.reciting.found - round(sum(self._recited))
            self._recited += [1.0] * reciting + [0.0] * (new - reciting)
            side = decided(
                [1.0 - one for one in self._recited],
                limit=1.0 - memorisation.MOST_RECITING,
                above=WRONGLY_MET,
                below=WRONGLY_UNMET,
            )
            unasked = [at for at in prompts.held_out if at not in waves.candidate]
            if side is not None or not unasked:
                return recited
            self._foresee(waves, more=len(unasked[: 2 * WAVE]), at_least=0)
            waves.ask_candidate(unasked[: 2 * WAVE])
