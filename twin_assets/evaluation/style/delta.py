"""Cosine Delta: how far texts are from an author by function words and punctuation alone.

Belongs here: the features, pools of texts, an author's profile, where a model's texts stand between
other people and the author.
Does not belong here: a score of a single answer (`twin_resources/quality/judges/voice.py`).

Single answers say little by this measure (AUC .91 on 60 words of two authors), pools of 400 words
nearly everything (.99): so texts are pooled before they are measured, and a figure says how many
pools it rests on. It knows nothing of the base model's manner as such, which makes it a second
opinion on the classifier. Stated, it blocks nothing.
Method: Burrows's Delta with cosine distance, Evert et al., 2017, "Understanding and explaining
Delta measures for authorship attribution", https://doi.org/10.1093/llc/fqx023; features that not
every hand uses are culled, so that no subject is among them (Eder, Rybicki and Kestemont, 2016,
https://doi.org/10.32614/RJ-2016-007).
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import digest
from twin_resources.statistics import bootstrap
from twin_resources.statistics.bootstrap import Interval

POOL_WORDS = 400
FEATURES = 150
# A feature stands in at least this share of the pools of every hand. At .5 the shared authors are
# told apart as well (.995), but two of the bundled ones from the first only at .97 to .98.
CULLED = 0.3
FEWEST_POOLS = 5  # of the author, and of other people
FEWEST_FEATURES = 10  # an author who writes in another script shares none with the others
FOLDS = 5
SEPARATES = 0.99  # AUC, own unseen pools against other people's
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-"})
# Marks of Markdown (* _ ` # [ ] | ~ =) are how a file was typed.
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\.\.\.|--?|[.,;:!?()\"'/…]")


@dataclass(frozen=True)
class DocumentText:
    """A text and the document it is of: pieces of one document stay in one fold."""

    document: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class Profile:
    """What an author's distances are measured with.

    Attributes:
        features: function words and marks.
        means, deviations: of their relative frequencies over all pools.
        author: mean z-scores of the author's pools.
        own: distances of the author's pools from a profile that their documents are not in.
        reference: hand → distances of its pools.
        separation: AUC of own against other people's pools (not the base model's).
    """

    features: tuple[str, ...] = field(repr=False)
    means: tuple[float, ...] = field(repr=False)
    deviations: tuple[float, ...] = field(repr=False)
    author: tuple[float, ...] = field(repr=False)
    own: tuple[float, ...] = field(repr=False)
    reference: dict[str, tuple[float, ...]] = field(repr=False)
    separation: float

    @property
    def separates(self) -> bool:
        return self.separation >= SEPARATES


@dataclass(frozen=True)
class DeltaPlacement:
    """Where a model's texts stand.

    Attributes:
        distance: cosine Delta to the author, 0 to 2; mean over pools.
        closer_than: percentile in the reference population: share of its pools that are farther
            from the author.
        as_close_as: percentile among the author's own pools: share of those that are farther;
            about .5 for the author.
        position: 0 where the reference population stands (median), 1 where the author does.
    """

    pools: int
    distance: Interval
    closer_than: Interval
    as_close_as: Interval
    position: Interval


@dataclass(frozen=True)
class Delta:
    """Candidate and base against an author's profile.

    Attributes:
        separation, separates: of the profile; where it does not separate, figures are stated as
            not reliable.
        own_pools: the author's; `reference_pools`: by hand.
        base: None: its texts were not given.
        why_not: why nothing was measured; empty when something was.
    """

    separation: float | None = None
    separates: bool = False
    own_pools: int = 0
    reference_pools: dict[str, int] = field(default_factory=dict[str, int])
    candidate: DeltaPlacement | None = None
    base: DeltaPlacement | None = None
    why_not: str = ""


def measure_delta(
    own: Sequence[DocumentText],
    reference: Mapping[str, Sequence[DocumentText]],
    *,
    candidate: Sequence[str],
    base: Sequence[str] = (),
    base_hand: str = "base model",
) -> Delta:
    """Profile an author and place a candidate's and the base's answers.

    Args:
        own: the author's posts, passages or answers; prose.
        reference: other people's texts by name, and the base model's under `base_hand`.
        candidate, base: answers; those of a model are pooled in the given order.
    """
    try:
        profile = profile_of(own, reference, base_hand=base_hand)
    except TwinError as error:
        return Delta(why_not=f"{error.found}: {error.next_step}")
    return Delta(
        separation=profile.separation,
        separates=profile.separates,
        own_pools=len(profile.own),
        reference_pools={name: len(frequencies) for name, frequencies in profile.reference.items()},
        candidate=place(profile, candidate),
        base=place(profile, base),
    )


def profile_of(
    own: Sequence[DocumentText],
    reference: Mapping[str, Sequence[DocumentText]],
    *,
    base_hand: str = "base model",
) -> Profile:
    """An author's profile against a reference population.

    Raises:
        TwinError: too few pools of the author, or of anybody else, or too little that all use.
    """
    import numpy as np

    folds = [_pools([one for one in own if _fold(one.document) == n]) for n in range(FOLDS)]
    mine = [pool for fold in folds for pool in fold]
    of_fold = np.array([n for n, fold in enumerate(folds) for _ in fold])
    others = {name: _pools(texts) for name, texts in reference.items()}
    people = [name for name in sorted(others) if name != base_hand and others[name]]
    fewest = min(len(mine), sum(len(others[name]) for name in people))
    if fewest < FEWEST_POOLS or len(set(of_fold.tolist())) < 2:
        raise TwinError(
            "profile an author by cosine Delta",
            found=f"{len(mine)} pools of {POOL_WORDS} words of the author, "
            f"{sum(len(others[name]) for name in people)} of other people",
            next_step=f"import more posts: {FEWEST_POOLS} of either are needed",
        )
    hands = [mine, *(others[name] for name in sorted(others) if others[name])]
    # a hand of few pools, the base model's, would cull what it had no room for
    features = _features([mine, *(others[name] for name in people if _enough(others[name]))])
    if len(features) < FEWEST_FEATURES:
        raise TwinError(
            "profile an author by cosine Delta",
            found=f"{len(features)} words and marks that the author and all others use, "
            f"{FEWEST_FEATURES} are needed",
            next_step="import an author who writes in the same language",
        )
    frequencies = _frequencies([pool for hand in hands for pool in hand], features)
    means, deviations = frequencies.mean(axis=0), frequencies.std(axis=0)
    deviations = np.where(deviations > 0, deviations, 1.0)
    scores = (frequencies - means) / deviations
    own_scores = scores[: len(mine)]
    own_distances = np.zeros(len(mine))
    for n in set(of_fold.tolist()):
        unseen = of_fold == n
        own_distances[unseen] = _distances(own_scores[unseen], own_scores[~unseen].mean(axis=0))
    author = own_scores.mean(axis=0)
    counts: dict[str, tuple[float, ...]] = {}
    start = len(mine)
    for name in sorted(others):
        part = scores[start : start + len(others[name])]
        start += len(others[name])
        if len(part):
            counts[name] = tuple(_distances(part, author).tolist())
    theirs = np.array([distance for name in people for distance in counts[name]])
    return Profile(
        features=tuple(features),
        means=tuple(means.tolist()),
        deviations=tuple(deviations.tolist()),
        author=tuple(author.tolist()),
        own=tuple(own_distances.tolist()),
        reference=counts,
        separation=_auc(own_distances, theirs),
    )


def place(profile: Profile, texts: Sequence[str]) -> DeltaPlacement | None:
    """Where texts stand; None when they fill no pool."""
    import numpy as np

    pools = _pools([DocumentText(str(number), text) for number, text in enumerate(texts)])
    if not pools:
        return None
    frequencies = _frequencies(pools, profile.features)
    scores = (frequencies - np.array(profile.means)) / np.array(profile.deviations)
    distances = _distances(scores, np.array(profile.author))
    theirs = np.array([one for hand in profile.reference.values() for one in hand])
    own = np.array(profile.own)
    far, near = float(np.median(theirs)), float(np.median(own))

    def share_farther(population: Any) -> list[float]:
        return [float((population > distance).mean()) for distance in distances]

    return DeltaPlacement(
        pools=len(pools),
        distance=bootstrap.mean(distances.tolist()),
        closer_than=bootstrap.mean(share_farther(theirs)),
        as_close_as=bootstrap.mean(share_farther(own)),
        position=bootstrap.mean([(far - float(one)) / (far - near) for one in distances]),
    )


def lines(delta: Delta) -> list[str]:
    """For the report."""
    if delta.why_not:
        return [f"Cosine Delta: not measured, {delta.why_not}."]
    table = [
        "| cosine Delta | pools | distance to the author | closer than of the others "
        "| as close as of the author's own | 0 others … 1 author |",
        "|---|---|---|---|---|---|",
    ]
    for name, placed in (("candidate", delta.candidate), ("base model", delta.base)):
        if placed is None:
            table.append(f"| {name} | fewer than {POOL_WORDS} words | | | | |")
        else:
            table.append(
                f"| {name} | {placed.pools} | {placed.distance.told(3)} "
                f"| {placed.closer_than.told()} | {placed.as_close_as.told()} "
                f"| {placed.position.told()} |"
            )
    others = ", ".join(f"{name} {count}" for name, count in delta.reference_pools.items())
    words = "tells" if delta.separates else f"does not tell (limit {SEPARATES})"
    table += [
        "",
        f"Pools of {POOL_WORDS} words: the author {delta.own_pools}, {others}. The measure {words} "
        f"the author from other people: AUC {delta.separation:.3f} on unseen documents.",
    ]
    return table


def _pools(texts: Sequence[DocumentText]) -> list[Counter[str]]:
    """Counts of consecutive texts until `POOL_WORDS` words are together; the rest is left out."""
    pools: list[Counter[str]] = []
    waiting, words = Counter[str](), 0
    for one in texts:
        for token in _tokens(one.text):
            waiting[token] += 1
            words += token[0].isalpha()
            if words >= POOL_WORDS:
                pools.append(waiting)
                waiting, words = Counter[str](), 0
    return pools


def _tokens(text: str) -> Iterator[str]:
    for match in _TOKEN.finditer(text.translate(_TYPOGRAPHY)):
        yield match[0].casefold()


def _enough(pools: Sequence[Counter[str]]) -> bool:
    return len(pools) >= FEWEST_POOLS


def _features(hands: Sequence[Sequence[Counter[str]]]) -> list[str]:
    """The most frequent words and marks that stand in `CULLED` of the pools of every hand."""
    shares = Counter[str]()
    everywhere: set[str] | None = None
    for hand in hands:
        present = Counter(token for pool in hand for token in pool)
        usual = {token for token, count in present.items() if count >= CULLED * len(hand)}
        everywhere = usual if everywhere is None else everywhere & usual
        together = Counter[str]()
        for pool in hand:
            together.update(pool)
        total = together.total()
        # parts per million: a Counter counts whole numbers
        shares.update({token: 10**6 * count // total for token, count in together.items()})
    return sorted(everywhere or (), key=lambda token: (-shares[token], token))[:FEATURES]


def _frequencies(pools: Sequence[Counter[str]], features: Sequence[str]) -> Any:
    """Relative frequencies, shape (pools, features)."""
    import numpy as np

    return np.array(
        [[pool[token] / pool.total() for token in features] for pool in pools],
        dtype=np.float64,
    )


def _distances(scores: Any, author: Any) -> Any:
    """1 − cosine of each row with the author's mean z-scores."""
    import numpy as np

    lengths = np.linalg.norm(scores, axis=1) * np.linalg.norm(author)
    return 1.0 - scores @ author / np.where(lengths > 0, lengths, 1.0)


def _auc(nearer: Any, farther: Any) -> float:
    """Share of pairs in which the one that should be nearer is; half of a tie."""
    gaps = farther[None, :] - nearer[:, None]
    return float((gaps > 0).mean() + (gaps == 0).mean() / 2)


def _fold(document: str) -> int:
    return int(digest("delta", document), 16) % FOLDS
