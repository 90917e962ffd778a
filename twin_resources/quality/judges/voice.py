"""Score whether an answer reads like the author's, by logistic regression on character n-grams.

Scope: training and calibrating the model, its probability as a score.
Out of scope: features (`style_features.py`), the source of other texts (`texts.py`).

The negatives are other people's posts and answers of the untuned base model. Each source has the
same total weight. The probability is calibrated with Platt's method on scores of documents that the
model had not seen (https://scikit-learn.org/stable/modules/calibration.html). It means "more like
this author than like those others". The score is therefore weaker for writers outside the training
data, and only probes by a writer outside the training data certify it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import JudgedAnswer, digest
from twin_resources.quality.judges.judge_kind import (
    JudgeDependencies,
    JudgeKind,
    JudgeMaterial,
    JudgeUnavailableError,
)
from twin_resources.quality.judges.stored_results import JudgeTask, doubling_bucket, load_or_compute
from twin_resources.quality.judges.style_features import (
    FEATURE_COUNT,
    common_words,
    feature_matrix,
    split_into_windows,
)
from twin_resources.quality.judges.texts import WriterSample

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

VOICE_VERSION = "voice-2"
CALIBRATION = "voice_calibration"
PEOPLE_CALIBRATION = "voice_of_people_calibration"  # trained against people only
BASE_MODEL = "base model"
MIN_TEXTS = 40  # windows per side
MAX_TEXTS = 600  # windows per source
FOLDS = 5
INVERSE_REGULARIZATION = 10.0  # scikit-learn's C


@dataclass(frozen=True)
class VoiceCalibration:
    """The parameters of a trained voice score.

    Attributes:
        kept: the words that were not masked, in order.
        weights, intercept: the coefficients of the regression, with `FEATURE_COUNT` weights.
        slope, offset: Platt's parameters, which convert a logit into a calibrated logit.
        own: the number of windows from the author's texts.
        negatives: source → the number of its windows used in training.
        auc: the AUC of the author's texts against the negatives, on documents held out of training.
    """

    kept: tuple[str, ...] = field(repr=False)
    weights: tuple[float, ...] = field(repr=False)
    intercept: float
    slope: float
    offset: float
    own: int
    negatives: dict[str, int]
    auc: float


def calibrate_voice(
    author_texts: WriterSample, other_texts: Sequence[WriterSample]
) -> VoiceCalibration:
    """Train a voice score on an author's texts against other texts.

    Raises:
        JudgeUnavailableError: one side has too few texts.
    """
    import numpy as np
    from sklearn.metrics import roc_auc_score

    sides = [_cut_into_windows(source) for source in (author_texts, *other_texts)]
    counts = [len(side) for side in sides]
    if min(counts[0], sum(counts[1:])) < MIN_TEXTS:
        raise JudgeUnavailableError(
            f"calibrate the voice score of {author_texts.name}",
            found=f"{counts[0]} texts by the author, {sum(counts[1:])} by others",
            next_step=f"import more posts: at least {MIN_TEXTS} texts per side are needed",
        )
    texts = [text for side in sides for _, text in side]
    labels = np.array([1] * counts[0] + [0] * sum(counts[1:]))
    nonempty_source_count = sum(1 for count in counts[1:] if count)
    shares = [0.5, *(0.5 / nonempty_source_count for _ in counts[1:])]
    sample_weights = np.concatenate(
        [
            np.full(count, share * len(texts) / count)
            for count, share in zip(counts, shares, strict=True)
            if count
        ]
    )
    folds = np.array(
        [
            int(digest(side_index, name), 16) % FOLDS
            for side_index, side in enumerate(sides)
            for name, _ in side
        ]
    )
    kept_words = common_words([texts[: counts[0]], texts[counts[0] :]])
    features = feature_matrix(texts, kept_words)
    held_out_logits = np.zeros(len(texts))
    for test_fold in range(FOLDS):
        is_test = folds == test_fold
        if is_test.any():
            coefficients, bias = _fit(
                features[~is_test], labels[~is_test], sample_weights[~is_test]
            )
            held_out_logits[is_test] = features[is_test] @ coefficients + bias
    slope_coefficients, offset = _fit(held_out_logits[:, None], labels, sample_weights)
    weights, intercept = _fit(features, labels, sample_weights)
    return VoiceCalibration(
        kept=tuple(sorted(kept_words)),
        weights=tuple(float(value) for value in np.round(weights, 6)),
        intercept=round(float(intercept), 6),
        slope=round(float(slope_coefficients[0]), 6),
        offset=round(float(offset), 6),
        own=counts[0],
        negatives={
            source.name: count for source, count in zip(other_texts, counts[1:], strict=True)
        },
        auc=round(float(roc_auc_score(labels, held_out_logits)), 4),
    )


def _fit(features: Any, labels: Any, sample_weights: Any) -> tuple[Any, float]:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model: Any = LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=1000)
    # One step is too short to parallelize: two busy-waiting threads take 6 CPU s instead of .2.
    with threadpool_limits(1):
        model.fit(features, labels, sample_weight=sample_weights)
    return model.coef_[0], float(model.intercept_[0])


class VoiceJudge:
    """Scores an answer by the probability that the author wrote it."""

    name = "voice"
    claim = "voice"

    def __init__(self, calibration: VoiceCalibration) -> None:
        import numpy as np

        self.calibration = calibration
        self.revision = digest(VOICE_VERSION, vars(calibration))
        self._weights: Any = np.array(calibration.weights)
        if len(self._weights) != FEATURE_COUNT:
            raise TwinError(
                "use a voice calibration",
                found=f"{len(self._weights)} weights, but this code has {FEATURE_COUNT} features",
                next_step="materialize shadow_pairs to calibrate again",
            )

    def score_all(self, answers: Sequence[JudgedAnswer]) -> list[float]:
        """Return the scores in order; an empty answer scores 0."""
        indexes = [index for index, answer in enumerate(answers) if answer.answer.strip()]
        scores = [0.0] * len(answers)
        if indexes:
            features = feature_matrix(
                [answers[index].answer for index in indexes], self.calibration.kept
            )
            logits = features @ self._weights + self.calibration.intercept
            for index, logit in zip(indexes, logits, strict=True):
                scores[index] = _sigmoid(self.calibration.slope * logit + self.calibration.offset)
        return scores


def load_or_calibrate_voice(
    tables: Tables,
    author: str,
    author_texts: WriterSample,
    other_texts: Sequence[WriterSample],
    *,
    base_revision: str,
    kind: str = CALIBRATION,
) -> VoiceCalibration:
    """Return the author's voice score, training it against other texts if none is stored.

    Args:
        base_revision: the revision of the base model whose answers are among the other texts; empty
            if people wrote all other texts.
        kind: under which the score is stored, one per kind of other texts.

    Raises:
        JudgeUnavailableError: as in `calibrate_voice`.
    """
    people_count = len(other_texts) - bool(base_revision)
    inputs_hash = digest(
        VOICE_VERSION,
        base_revision,
        doubling_bucket(len(_cut_into_windows(author_texts))),
        doubling_bucket(people_count + 1),
    )
    task = JudgeTask(inputs_hash, lambda: asdict(calibrate_voice(author_texts, other_texts)))
    calibration = load_or_compute(tables, kind, author=author, tasks={"voice": task})["voice"]
    return VoiceCalibration(
        **(
            calibration
            | {"kept": tuple(calibration["kept"]), "weights": tuple(calibration["weights"])}
        )
    )


def create_voice_judge(material: JudgeMaterial, dependencies: JudgeDependencies) -> VoiceJudge:
    """Return the author's voice judge, trained against other people and the base model.

    Raises:
        JudgeUnavailableError: as in `calibrate_voice`.
    """
    other_texts = [*material.other_texts.training]
    if material.base_answers:
        answers = tuple((str(index), text) for index, text in enumerate(material.base_answers))
        other_texts.append(WriterSample(BASE_MODEL, answers))
    base_revision = material.base_revision if material.base_answers else ""
    author_texts = _author_texts(material)
    return VoiceJudge(
        load_or_calibrate_voice(
            dependencies.tables,
            material.author,
            author_texts,
            other_texts,
            base_revision=base_revision,
        )
    )


def create_people_only_voice_judge(
    material: JudgeMaterial, dependencies: JudgeDependencies
) -> VoiceJudge | None:
    """Return the author's voice judge, trained on people only; None with too little text."""
    try:
        calibration = load_or_calibrate_voice(
            dependencies.tables,
            material.author,
            _author_texts(material),
            material.other_texts.training,
            base_revision="",
            kind=PEOPLE_CALIBRATION,
        )
    except JudgeUnavailableError:
        return None  # only a second opinion: `create_voice_judge` reports the error
    return VoiceJudge(calibration)


def _author_texts(material: JudgeMaterial) -> WriterSample:
    pairs = material.pairs
    return WriterSample(material.author, tuple((pair.document_id, pair.answer) for pair in pairs))


def _cut_into_windows(writer: WriterSample) -> list[tuple[str, str]]:
    """Return (document id, window) for at most `MAX_TEXTS` windows of a writer."""
    windows = [
        (document_id, window)
        for document_id, text in writer.passages
        for window in split_into_windows(text)
    ]
    return windows[:MAX_TEXTS]


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, logit))))


VOICE = JudgeKind(
    "voice",
    ("another_author",),
    "decides with others",
    create_voice_judge,
)
