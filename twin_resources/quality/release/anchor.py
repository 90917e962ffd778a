"""The anchor: the best version ever certified, against which small losses would add up.

Belongs here: which version it is, from the history and each version's own certified values.
Does not belong here: betting against it (`statistics/promotion.py`), reading the values
(`certified.py`).

Each release may lose up to ε against the stable version before it. Ten of them could lose ten ε.
So every candidate is also compared with the anchor: the first release, until the first 500 values
of a later one certify a higher mean than the anchor's first 500 of the same stream do. Nothing else
moves it: an absence of scores cannot lower what candidates are held to.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twin_resources.registry.moves import ModelVersion, Move


@dataclass(frozen=True)
class CertifiedBaseline:
    """What the first 500 values of one version and stream certify.

    Attributes:
        bounds: prompt class → lower bound of its mean (`statistics/baseline.py`).
        counts: prompt class → values behind it.
    """

    bounds: Mapping[str, float]
    counts: Mapping[str, int]


Stream = str


def anchor_of(
    versions: Sequence[ModelVersion],
    moves: Sequence[Move],
    certified: Mapping[int, Mapping[Stream, CertifiedBaseline]],
) -> int | None:
    """The anchor among an author's versions; None before the first release.

    Args:
        versions: all of the author's.
        moves: the author's history, oldest first.
        certified: version → stream → what it certified.

    A forced version never is one (nothing certified it), nor is a tainted one or one that was
    rolled back.
    """
    eligible = {
        item.version
        for item in versions
        if item.state in {"stable", "retired"} and not item.forced and not item.tainted
    }
    released = dict.fromkeys(
        move.version
        for move in moves
        if move.to_state == "stable" and move.from_state != "retired" and move.version in eligible
    )
    anchor: int | None = None
    for version in released:
        if anchor is None or _better(certified.get(version, {}), certified.get(anchor, {})):
            anchor = version
    return anchor


def _better(
    one: Mapping[Stream, CertifiedBaseline], other: Mapping[Stream, CertifiedBaseline]
) -> bool:
    """Whether the certified mean is higher on each stream that both have, and there is one."""
    shared = [(one[stream], other[stream]) for stream in one if stream in other]
    return bool(shared) and all(_mean_gap(left, right) > 0.0 for left, right in shared)


def _mean_gap(one: CertifiedBaseline, other: CertifiedBaseline) -> float:
    """Mean difference of the bounds over the classes that both have, by how often they came.

    Class by class, so that an easier mix of questions makes no version better.
    """
    classes = [name for name in one.bounds if name in other.bounds]
    weights = [one.counts[name] + other.counts[name] for name in classes]
    gaps = [one.bounds[name] - other.bounds[name] for name in classes]
    total = sum(weights)
    return sum(w * gap for w, gap in zip(weights, gaps, strict=True)) / total if total else 0.0
