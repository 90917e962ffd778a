"""How near answers are to the author's style by a named encoder, between a floor and a ceiling.

Belongs here: means with their intervals, the difference to the base, how well the encoder tells
people apart, the lines. Does not belong here: the encoder
(`twin_resources/quality/judges/style_encoder.py`), which texts are scored
(`measures/style_similarity.py`), the voice, which decides (`voice_scores.py`).

The floor is other people's texts, the ceiling the author's unseen ones, both as long as the
answers. An encoder that does not tell these two apart (AUC) hears nothing of the author, and its
figures say nothing.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twin_resources.statistics import bootstrap
from twin_resources.statistics.bootstrap import Interval

SMALLEST_GAP = 0.02  # between floor and ceiling, below which a share of it says nothing


@dataclass(frozen=True)
class EncodedStyle:
    """Cosines to the author's training texts, each mean with its interval over documents.

    Attributes:
        encoder: its name.
        prompts: held-out ones that candidate and base answered.
        author: the ceiling, the author's own answers; `others`: the floor, other people's texts;
            None: there are none.
        over_base: candidate − base on the same prompts.
        auc: how often a text of the author is nearer than one of others; None: there are none.
    """

    encoder: str
    prompts: int
    candidate: Interval
    base: Interval
    author: Interval
    others: Interval | None
    over_base: Interval
    auc: float | None

    @property
    def position(self) -> float | None:
        """Where the candidate stands: 0 at the floor, 1 at the ceiling; None: they are as good as
        one."""
        if self.others is None or self.author.value - self.others.value < SMALLEST_GAP:
            return None
        gap = self.author.value - self.others.value
        return (self.candidate.value - self.others.value) / gap


def compare_encoded(
    encoder: str,
    *,
    candidate: Sequence[float],
    base: Sequence[float],
    author: Sequence[float],
    others: Sequence[float],
    documents: Sequence[str],
    others_documents: Sequence[str],
) -> EncodedStyle:
    """Compare cosines.

    Args:
        candidate, base, author: of the answers to the same prompts, in order.
        others: of other people's texts; `documents`, `others_documents`: what each is of.

    Raises:
        ValueError: no prompts.
    """
    return EncodedStyle(
        encoder=encoder,
        prompts=len(candidate),
        candidate=bootstrap.mean(candidate, groups=documents),
        base=bootstrap.mean(base, groups=documents),
        author=bootstrap.mean(author, groups=documents),
        others=bootstrap.mean(others, groups=others_documents) if others else None,
        over_base=bootstrap.paired_difference(candidate, base, groups=documents),
        auc=_area_under_curve(author, others) if others else None,
    )


def lines(found: EncodedStyle) -> list[str]:
    """For the report."""
    table = [
        f"| {found.encoder}: cosine to the author | mean (95 %) |",
        "|---|---|",
        f"| candidate | {found.candidate.told()} |",
        f"| base model | {found.base.told()} |",
        f"| candidate − base | {found.over_base.told(3)} |",
        f"| ceiling: the author's unseen posts | {found.author.told()} |",
    ]
    if found.others is not None:
        table.append(f"| floor: other people | {found.others.told()} |")
    told = f"{found.prompts} held-out questions; it decides nothing."
    if found.auc is not None:
        told = f"It tells the author from other people with AUC {found.auc:.2f}. {told}"
    if (position := found.position) is not None:
        told = f"The candidate is {100 * position:.0f} % of the way from floor to ceiling. {told}"
    return [*table, "", told]


def _area_under_curve(nearer: Sequence[float], farther: Sequence[float]) -> float:
    """Share of pairs in which the one that should be nearer is; half of a tie."""
    pairs = [(one > other) + (one == other) / 2 for one in nearer for other in farther]
    return sum(pairs) / len(pairs)
