"""Whether something beside the weights changed when the answers of a version became worse.

Belongs here: causes that no training can mend.
Does not belong here: measuring them (traces), deciding (`retraining.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

# A share (retrieval hits, degraded answers) that moved by as much explains a fall by itself.
NOTABLE = 0.15
SLOWER = 2.0  # so does a median answer that takes as many times as long, and two seconds more
SLOWER_BY_S = 2.0


@dataclass(frozen=True)
class Conditions:
    """How answers came about, before the drop or since.

    Attributes:
        retrieval_hit_rate, degraded_share: in [0, 1]; None: no traces.
        latency_s: median seconds of an answer; None: not known.
        template, server: hashes or versions in use.
    """

    retrieval_hit_rate: float | None
    degraded_share: float | None
    latency_s: float | None
    template: str
    server: str


def cause_outside_the_weights(before: Conditions, since: Conditions) -> str | None:
    """A change that explains the fall without the weights, in words; None: none was seen."""
    for name, old, new in (
        ("prompt template", before.template, since.template),
        ("model server", before.server, since.server),
    ):
        if old and new and old != new:  # what was not told has not changed
            return f"the {name} changed from {old} to {new}"
    for name, first, second, sign in (
        ("retrieval hit rate", before.retrieval_hit_rate, since.retrieval_hit_rate, -1.0),
        ("share of degraded answers", before.degraded_share, since.degraded_share, 1.0),
    ):
        if first is not None and second is not None and sign * (second - first) >= NOTABLE:
            return f"the {name} went from {first:.0%} to {second:.0%}"
    slow, fast = since.latency_s, before.latency_s
    if slow is not None and fast and slow >= max(SLOWER * fast, fast + SLOWER_BY_S):
        return f"the median answer took {slow:.1f} s instead of {fast:.1f}"
    return None
