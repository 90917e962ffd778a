"""Compute a permutation AUC: how often an answer is nearer to its own question than to others.

Scope: each answer's share of other questions that are further from it.
Out of scope: the measure of nearness (`quality/judges/topic.py`), intervals (`bootstrap.py`), and
the limit (`twin_assets/evaluation/measures/on_topic.py`).
Sources: Hanley and McNeil, "The meaning and use of the area under a receiver operating
characteristic (ROC) curve", Radiology 143 (1982), for the AUC as the probability that a matching
pair is nearer than a mismatched one. Good, "Permutation, Parametric and Bootstrap Tests of
Hypotheses" (2005), chapter 3, for its mean under exchanged labels.

The mean of the shares is the AUC. If answers do not depend on their questions, every pairing of
answers and questions is equally probable. The mean over all pairings is then ½ for any embedder,
author or length of answers. No scale has to be calibrated, and an answer that is near to every
question has no advantage.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Hashable, Sequence

CHANCE = 0.5
TIE_TOLERANCE = 1e-6  # larger than differences between float32 cosines of the same two texts


def permutation_shares(
    nearness: Sequence[Sequence[float]], own_positions: Sequence[int], *, groups: Sequence[Hashable]
) -> list[float]:
    """Return, for each answer, the share of other groups' questions that are further from it.

    Args:
        nearness: m rows of n values, the nearness of each answer to each question.
        own_positions: m positions, one for each answer's own question.
        groups: group of each of the n questions; questions of one group may have the same answer
            and are not compared.

    Returns:
        m values in [0, 1]; an equally near question counts as half.

    Raises:
        ValueError: the lengths differ, or there is no question of a different group.
    """
    shares: list[float] = []
    for row, column in zip(nearness, own_positions, strict=True):
        other_values = [
            value for value, group in zip(row, groups, strict=True) if group != groups[column]
        ]
        if not other_values:
            raise ValueError(f"no question from a group other than {groups[column]!r}")
        score = sum(_comparison_score(row[column] - other_value) for other_value in other_values)
        shares.append(score / len(other_values))
    return shares


def _comparison_score(margin: float) -> float:
    if abs(margin) <= TIE_TOLERANCE:
        return CHANCE
    return 1.0 if margin > 0.0 else 0.0
