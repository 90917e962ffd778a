"""Find the best version ever released, so that small losses cannot add up unnoticed.

If ten successors are each 4.9 % worse than their predecessor, the last is 61 % worse than the first
version, yet each passes against its incumbent. Passages differ between evaluations, so the best
version is the one with the lowest stored ratio of its perplexity to the base's. The candidate is
then compared with that version on the current passages.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from twin_assets.evaluation.report.evaluation_record import read_evaluation
from twin_resources.registry.moves import ModelVersion

RELEASED_STATES = frozenset({"stable", "retired"})


def find_best_released(
    versions: Sequence[ModelVersion], *, candidate: ModelVersion
) -> ModelVersion | None:
    """Return the released version with the candidate's base and the lowest perplexity ratio to it.

    Args:
        versions: all versions of the author.

    Returns:
        The version, or None if no eligible version has a stored perplexity ratio. Excluded are the
        candidate itself and versions that were forced (released without a passing verdict),
        tainted, rolled back, withdrawn or configured as answer models.
    """
    eligible_versions = [
        (ratio, version.version, version)
        for version in versions
        if version.checkpoint != candidate.checkpoint
        and version.base == candidate.base
        and version.state in RELEASED_STATES
        and not (version.forced or version.tainted or version.is_answer_model)
        and math.isfinite(ratio := read_stored_ratio(Path(version.folder)))
    ]
    return min(eligible_versions)[2] if eligible_versions else None


def read_stored_ratio(folder: Path) -> float:
    """Return the perplexity ratio to the base in a checkpoint's newest evaluation, or infinity.

    Raises:
        TwinError: an evaluation is damaged.
    """
    files = sorted((folder / "evaluation").glob("gate-*.json"), key=_sort_key, reverse=True)
    for file in files:
        evaluation = read_evaluation(file)
        if evaluation is not None and evaluation.ratio_to_base is not None:
            return evaluation.ratio_to_base
    return math.inf


def _sort_key(file: Path) -> tuple[int, bool]:
    """Return the sort key: the gate's number, then whether the file contains the whole gate."""
    number, _, part = file.stem.removeprefix("gate-").partition("-")
    return int(number), not part
