"""Score whether an answer is about its question: topic × fluency.

Scope: the measure and its calibration on an author's own training pairs.
Out of scope: the embedder (`embedder/embedder.py`), style (`voice.py`).

topic = clip((cos(question, answer) − a)/(b − a)). Here a is the mean cosine of a question and
another document's passage, and b the mean cosine of a question and its own passage. A text
unrelated to the question scores 0, and a text as close as the author's own answers scores 1. An
answer that repeats the question is on topic; `fluency_score` lowers its score only if it is short.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from twin_resources.quality.judges.fluency import fluency_score
from twin_resources.quality.judges.judge import Embed, JudgedAnswer, clip, digest, embed_distinct
from twin_resources.quality.judges.judge_kind import (
    JudgeDependencies,
    JudgeKind,
    JudgeMaterial,
    JudgeUnavailableError,
    TopicPair,
)
from twin_resources.quality.judges.stored_results import JudgeTask, doubling_bucket, load_or_compute

TOPIC_VERSION = "topic-1"
_CALIBRATION = "topic_calibration"
MAX_PAIRS = 200  # 5 s of embedding; with 400 pairs, both means changed by less than .01
MIN_PAIRS = 20
MIN_GAP = 0.1


@dataclass(frozen=True)
class TopicCalibration:
    """The scale of an author's topic score.

    Attributes:
        unrelated: a, the mean cosine of a question and another document's passage.
        own: b, the mean cosine of a question and its own passage.
        pairs: the number of pairs in both means.
        embedder: the embedder's revision; cosines of different embedders are not comparable.
    """

    unrelated: float
    own: float
    pairs: int
    embedder: str


def calibrate_topic(pairs: Sequence[TopicPair], *, embed: Embed, embedder: str) -> TopicCalibration:
    """Compute a and b from an author's first `MAX_PAIRS` training pairs.

    Raises:
        JudgeUnavailableError: there are too few pairs or documents, or the questions are hardly
            closer to their own passages than to others.
    """
    calibration_pairs = list(pairs[:MAX_PAIRS])
    action = "calibrate the topic score"
    document_count = len({pair.document_id for pair in calibration_pairs})
    if len(calibration_pairs) < MIN_PAIRS or document_count < 2:
        raise JudgeUnavailableError(
            action,
            found=f"{len(calibration_pairs)} training pairs from {document_count} documents",
            next_step=f"import more posts: at least {MIN_PAIRS} pairs from two documents",
        )
    vectors = embed_distinct(
        embed, [text for pair in calibration_pairs for text in (pair.question, pair.answer)]
    )
    own_cosines = [
        float(vectors[pair.question] @ vectors[pair.answer]) for pair in calibration_pairs
    ]
    unrelated_cosines = [
        float(vectors[pair.question] @ vectors[mismatched_pair.answer])
        for pair, mismatched_pair in zip(
            calibration_pairs, pair_with_other_documents(calibration_pairs), strict=True
        )
    ]
    unrelated_mean = sum(unrelated_cosines) / len(calibration_pairs)
    own_mean = sum(own_cosines) / len(calibration_pairs)
    if own_mean - unrelated_mean < MIN_GAP:
        raise JudgeUnavailableError(
            action,
            found=f"questions are as close to other passages ({unrelated_mean:.3f}) as to their "
            f"own ({own_mean:.3f})",
            next_step="check instruction_dataset: its questions do not seem to match its answers",
        )
    return TopicCalibration(
        round(unrelated_mean, 6), round(own_mean, 6), len(calibration_pairs), embedder
    )


def pair_with_other_documents(pairs: Sequence[TopicPair]) -> list[TopicPair]:
    """Return, for each pair, a pair from another document, half the list away if possible."""
    count, mismatched_pairs = len(pairs), list[TopicPair]()
    for index, pair in enumerate(pairs):
        candidates = (pairs[(index + count // 2 + step) % count] for step in range(count))
        mismatched_pairs.append(
            next(candidate for candidate in candidates if candidate.document_id != pair.document_id)
        )
    return mismatched_pairs


class TopicJudge:
    """Scores an answer by topic × fluency."""

    name = "topic"
    claim = "topic"

    def __init__(self, calibration: TopicCalibration, embed: Embed) -> None:
        self.calibration = calibration
        self.revision = digest(TOPIC_VERSION, vars(calibration))
        self._embed = embed

    def score_all(self, answers: Sequence[JudgedAnswer]) -> list[float]:
        """Return the scores in order; an empty answer scores 0."""
        nonempty_answers = [answer for answer in answers if answer.answer.strip()]
        vectors = embed_distinct(
            self._embed,
            [text for answer in nonempty_answers for text in (answer.question, answer.answer)],
        )
        scale = self.calibration.own - self.calibration.unrelated
        scores = list[float]()
        for judged_answer in answers:
            if not judged_answer.answer.strip():
                scores.append(0.0)
                continue
            cosine = float(vectors[judged_answer.question] @ vectors[judged_answer.answer])
            topic = clip((cosine - self.calibration.unrelated) / scale)
            scores.append(topic * fluency_score(judged_answer.answer))
        return scores

    def cosine_similarities(
        self, questions: Sequence[str], answers: Sequence[str]
    ) -> list[list[float]]:
        """Return the cosine of each answer (row) with each question (column).

        An answer with a `fluency_score` of 0 (a loop, or no word) has a row of zeros.
        """
        texts = [text for text in answers if fluency_score(text) > 0.0]
        vectors = embed_distinct(self._embed, [*questions, *texts])
        return [
            [float(vectors[question] @ vectors[text]) for question in questions]
            if fluency_score(text) > 0.0
            else [0.0] * len(questions)
            for text in answers
        ]


def create_topic_judge(material: JudgeMaterial, dependencies: JudgeDependencies) -> TopicJudge:
    """Return the author's topic judge, calibrating it if no calibration is stored.

    Raises:
        JudgeUnavailableError: as in `calibrate_topic`.
    """
    calibration_pairs = list(material.pairs[:MAX_PAIRS])
    inputs_hash = digest(
        TOPIC_VERSION, dependencies.embedder_revision, doubling_bucket(len(calibration_pairs))
    )
    task = JudgeTask(
        inputs_hash,
        lambda: asdict(
            calibrate_topic(
                calibration_pairs, embed=dependencies.embed, embedder=dependencies.embedder_revision
            )
        ),
    )
    calibrations = load_or_compute(
        dependencies.tables, _CALIBRATION, author=material.author, tasks={"topic": task}
    )
    return TopicJudge(TopicCalibration(**calibrations["topic"]), dependencies.embed)


TOPIC = JudgeKind("topic", ("off_topic", "shuffled"), "decides with others", create_topic_judge)
