"""By how much scores have fallen, and whether the answers fell or those who score them changed.

Belongs here: the difference of two times with the same mix of classes, its interval, and what
readers' and judges' differences say together.
Does not belong here: when the fall began (`diagnosis.py`), reading values
(`quality/retraining/fall_causes.py`), what follows (`retraining.py`).
Sources: direct standardisation (Fleiss, Statistical Methods for Rates and Proportions, 1981, ch.
14); variance by clusters of days (Liang and Zeger, Biometrika 73, 1986), with t of Welch's degrees
of freedom (Biometrika 34, 1947); a measure's error as the divisor of what it measures (Rogan and
Gladen, American Journal of Epidemiology 107, 1978).

Weights do not change by themselves. Where readers' scores fell by f and a judge's by j, and the
judge scores a bad answer lower than a good one by D, which its certificate bounds from below, the
answers fell by j/D. The *answers* fell if a judge's scores surely fell by more than the tolerance.
The *readers* changed if for every judge the answers surely fell by less than what readers took
away, j/D < f, and by its estimate by less than half of that. Both are wrong with probability at
most `BEYOND`. Anything else is undecided.

Where a share of the readers is answered by another version, the anchor, its scores are a control at
the same time (`cause_by_anchor`): what moves readers moves both, and days on which only one of them
was scored are left out. With f what the stable version's readers gave less and a what the anchor's
did, the *answers* fell if f − a is surely above the tolerance, the *readers* changed if a > 0
surely and f − a is estimated below f/2.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from twin_resources.statistics.bounds import student_quantile
from twin_resources.statistics.values import ImpossibleValue, SettledValue

BEYOND = 0.025  # what was stored is looked at first, answers judged anew after it: .05 for both
FEWEST_OF_CLASS = 10  # scores of a class at either time
FEWEST = 60  # scores at either time
MOST_MISSING = 0.1  # of what fell: in classes of which there are too few scores
HALF = 0.5  # of a fall of readers' scores
MANY_DAYS = 100_000  # Student's t is normal by then
WAIT_DAYS = 5.0  # for scores of the anchor, after an alarm
WORTH_WAITING = 0.75  # of a fall: the error that the anchor's scores must come below in time

CauseName = Literal["answers", "readers", "judge", "undecided"]


@dataclass(frozen=True)
class DayCell:
    """The scores of one class on one day, or any others that may depend on each other.

    Attributes:
        day: name of the cluster.
        count, total, squares: of the scores, in [0, 1]: how many, Σx and Σx².
    """

    prompt_class: str
    day: str
    count: int
    total: float
    squares: float


# Scores of before a drop, and of since.
TwoTimes = tuple[Sequence[DayCell], Sequence[DayCell]]


@dataclass(frozen=True)
class FallEstimate:
    """By how much a mean has fallen.

    Attributes:
        fall: mean before − mean since, classes weighted alike; below zero where it has risen.
        variance: of `fall`. `degrees`: of freedom of Student's t.
        before, since: scores behind it.
        covered: share of the weights that is in classes with enough scores at both times.
    """

    fall: float
    variance: float
    degrees: float
    before: int
    since: int
    covered: float = 1.0

    @property
    def error(self) -> float:
        """Half the width of the two-sided interval with `BEYOND` on either side."""
        return _quantile(self.degrees) * math.sqrt(self.variance)

    @property
    def words(self) -> str:
        """`.10 ± .03 (500 and 640)`, less or more."""
        direction = "less" if self.fall >= 0 else "more"
        counts = f"{self.before:,} and {self.since:,}"
        return f"{abs(self.fall):.3f} ± {self.error:.3f} {direction} ({counts})"


@dataclass(frozen=True)
class JudgedFall:
    """What one judge has seen.

    Attributes:
        sensitivity: D, the lower bound in (0, 1] by which it scores a good answer above a bad one.
    """

    estimate: FallEstimate
    sensitivity: float


@dataclass(frozen=True)
class FallCause:
    """Whether answers have changed, or those whose scores fell, with the numbers in words."""

    name: CauseName
    words: str


def cells_of(values: Iterable[SettledValue]) -> list[DayCell]:
    """Values of one stream, by class and day; one without a day stands for itself."""
    sums: dict[tuple[str, str], list[float]] = {}
    for one in values:
        day = f"value {one.sequence}" if one.day is None else f"day {one.day}"
        into = sums.setdefault((one.prompt_class, day), [0.0, 0.0, 0.0])
        for index, addend in enumerate((1.0, one.value, one.value * one.value)):
            into[index] += addend
    return [
        DayCell(name, day, int(count), total, squares)
        for (name, day), (count, total, squares) in sums.items()
    ]


def counts_of(cells: Iterable[DayCell]) -> dict[str, int]:
    """Class → scores."""
    counts: dict[str, int] = {}
    for one in cells:
        counts[one.prompt_class] = counts.get(one.prompt_class, 0) + one.count
    return counts


def estimate_of(
    before: Sequence[DayCell], since: Sequence[DayCell], weights: Mapping[str, float]
) -> FallEstimate | None:
    """The fall between two times, with the same weights of classes at both.

    Args:
        weights: class → weight ≥ 0; of their sum, what is in classes with under `FEWEST_OF_CLASS`
            scores at either time is left out, and said in `covered`.

    Returns:
        None: under `FEWEST` scores at a time, scores of one day alone, or no class with weight.

    Raises:
        ImpossibleValue: a weight below zero.
    """
    if any(weight < 0.0 for weight in weights.values()):
        raise ImpossibleValue(
            "estimate a fall", found=f"the weights {dict(weights)}", next_step="pass counts"
        )
    counts = counts_of(before), counts_of(since)
    used = {
        name: weight
        for name, weight in weights.items()
        if weight > 0.0 and all(of.get(name, 0) >= FEWEST_OF_CLASS for of in counts)
    }
    known, every = math.fsum(used.values()), math.fsum(weights.values())
    if not used or any(sum(of.get(name, 0) for name in used) < FEWEST for of in counts):
        return None
    shares = {name: weight / known for name, weight in used.items()}
    sides = [_side((cells, ()), shares) for cells in (before, since)]
    if any(math.isinf(side.variance) for side in sides):
        return None
    variance = sides[0].variance + sides[1].variance
    return FallEstimate(
        sides[0].mean - sides[1].mean,
        variance,
        _welch([(side.variance, side.degrees) for side in sides]),
        sides[0].count,
        sides[1].count,
        covered=known / every,
    )


def cause_between(
    votes: TwoTimes,
    judged: Mapping[str, TwoTimes],
    sensitivities: Mapping[str, float],
    *,
    tolerance: float,
) -> FallCause:
    """`cause_of` scores of before and since; classes are weighted by what fell.

    Args:
        judged: judge → its scores. `sensitivities`: judge → D; each of these must have scored
            enough, since they decide together.
    """
    weights = counts_of(votes[1])
    judges: dict[str, JudgedFall] = {}
    for name, sensitivity in sensitivities.items():
        estimate = estimate_of(*judged.get(name, ((), ())), weights)
        if estimate is None:
            judges = {}
            break
        judges[name] = JudgedFall(estimate, sensitivity)
    return cause_of(estimate_of(*votes, weights), judges, tolerance=tolerance)


def cause_of(
    readers: FallEstimate | None,
    judges: Mapping[str, JudgedFall],
    *,
    tolerance: float,
) -> FallCause:
    """What readers' and judges' scores say together; see the module.

    Args:
        readers: of their own stream. None: too few of their scores.
        judges: judge → what it saw, of judges that may decide together; none: nothing is decided.
        tolerance: a fall of answers by less does not matter.
    """
    if readers is None or not judges:
        missing = "a judge's scores" if readers is not None else "readers' scores"
        return FallCause("undecided", f"too few of {missing} before and since the fall")
    said = [f"readers gave {readers.words}"]
    said += [f"{name} {seen.estimate.words}" for name, seen in sorted(judges.items())]
    numbers = ", ".join(said)
    covered = min(readers.covered, *(seen.estimate.covered for seen in judges.values()))
    if any(_surely_fell(seen, tolerance) for seen in judges.values()):
        return FallCause("answers", f"a judge sees the fall: {numbers}")
    if covered < 1.0 - MOST_MISSING:
        why = f"{1.0 - covered:.0%} of it is in classes with too few judged answers"
        return FallCause("undecided", f"{why}: {numbers}")
    if all(_surely_less(readers, seen) for seen in judges.values()):
        return FallCause("readers", f"no judge sees the fall: {numbers}")
    return FallCause("undecided", f"the judges leave it open: {numbers}")


def cause_of_judge(stored: TwoTimes, again: Sequence[DayCell], *, tolerance: float) -> FallCause:
    """Whether a judge whose scores fell has moved itself.

    With m what it now gives less to answers of before, and f what it gave less to those since: the
    answers fell if f − m is surely above the tolerance; else it has moved if m > 0 surely and
    m > f/2.

    Args:
        stored: its scores as they were given.
        again: of answers of before the drop, given now.
    """
    weights = counts_of(stored[1])
    fell = estimate_of(*stored, weights)
    moved = estimate_of(stored[0], again, weights)
    if fell is None or moved is None:
        return FallCause("undecided", "too few of the judge's scores before and since the fall")
    numbers = f"it gave {fell.words}, and gives the same answers {moved.words}"
    error = _quantile(_welch([(one.variance, one.degrees) for one in (fell, moved)])) * math.sqrt(
        fell.variance + moved.variance
    )
    if fell.fall - moved.fall - error > tolerance:
        return FallCause("answers", f"the judge sees the fall: {numbers}")
    if moved.fall > max(moved.error, HALF * fell.fall):
        return FallCause("judge", f"it has moved: {numbers}")
    return FallCause("undecided", f"the judge leaves it open: {numbers}")


@dataclass(frozen=True)
class AnchorFall:
    """What the readers of two versions, who were asked at the same time, gave less.

    Attributes:
        stable, anchor: of each, by the days on which both were scored.
        difference: by how much stable − anchor has fallen, by the same days.
    """

    stable: FallEstimate
    anchor: FallEstimate
    difference: FallEstimate

    @property
    def is_sharp(self) -> bool:
        """Whether the anchor's scores tell a whole fall from half of one."""
        return self.anchor.error <= HALF * self.stable.fall

    @property
    def words(self) -> str:
        """The three falls with their intervals."""
        return (
            f"readers gave {self.stable.words}, those of the anchor {self.anchor.words}, and the "
            f"difference fell by {self.difference.fall:.3f} ± {self.difference.error:.3f}"
        )


def anchor_fall(stable: TwoTimes, anchor: TwoTimes) -> AnchorFall | None:
    """Compare scores of two versions around a drop; classes are weighted by what fell.

    Args:
        stable, anchor: before the drop and since; `day` names the same days in both.

    Returns:
        None: too few scores of either on common days (`estimate_of`).
    """
    weights = counts_of(stable[1])
    (before, before_anchor), (since, since_anchor) = (
        _common_days(stable[time], anchor[time]) for time in (0, 1)
    )
    own = estimate_of(before, since, weights)
    theirs = estimate_of(before_anchor, since_anchor, weights)
    if own is None or theirs is None:
        return None
    # Both have enough of the classes that the anchor has enough of: it has fewer scores.
    used = {
        name: weight
        for name, weight in weights.items()
        if all(
            counts_of(cells).get(name, 0) >= FEWEST_OF_CLASS
            for cells in (before, since, before_anchor, since_anchor)
        )
    }
    total = math.fsum(used.values())
    if total == 0.0:
        return None
    shares = {name: weight / total for name, weight in used.items()}
    sides = [
        _side(versions, shares) for versions in ((before, before_anchor), (since, since_anchor))
    ]
    return AnchorFall(
        own,
        theirs,
        FallEstimate(
            sides[0].mean - sides[1].mean,
            sides[0].variance + sides[1].variance,
            _welch([(side.variance, side.degrees) for side in sides]),
            theirs.before,
            theirs.since,
            covered=min(own.covered, theirs.covered),
        ),
    )


def cause_by_anchor(seen: AnchorFall | None, *, tolerance: float) -> FallCause:
    """What the readers of two versions say together; see the module."""
    if seen is None:
        return FallCause("undecided", "too few scores of the anchor before and since the fall")
    difference = seen.difference
    if difference.fall - difference.error > tolerance:
        return FallCause("answers", f"the anchor's readers do not see the fall: {seen.words}")
    if difference.covered < 1.0 - MOST_MISSING:
        why = f"{1.0 - difference.covered:.0%} of it is in classes with too few of the anchor's"
        return FallCause("undecided", f"{why}: {seen.words}")
    if seen.anchor.fall > seen.anchor.error and difference.fall < HALF * seen.stable.fall:
        return FallCause("readers", f"the anchor's readers see the fall as well: {seen.words}")
    return FallCause("undecided", f"the anchor leaves it open: {seen.words}")


def is_worth_waiting(
    stable: TwoTimes, anchor: TwoTimes, *, share: float, days: float, more: float
) -> bool:
    """Whether the anchor's scores will say enough, if scores go on coming as they do.

    By how many of them there are, which says nothing of who has fallen; as if all scores were
    independent and of one class, since an alarm may come on the first day of a drop.

    Args:
        share: of the readers who will be answered by the anchor.
        days: since the drop began, above 0. more: how many could be waited for.
    """
    (before, own_mean, own_spread), (since, mean, spread) = (_pooled(cells) for cells in stable)
    theirs = [sum(one.count for one in cells) for cells in anchor]
    later = theirs[1] + more * share * (since + theirs[1]) / days
    if not before or not since or theirs[0] < FEWEST or later < FEWEST:
        return False
    variance = own_spread / theirs[0] + spread / later
    return _quantile(MANY_DAYS) * math.sqrt(variance) <= WORTH_WAITING * (own_mean - mean)


def _pooled(cells: Sequence[DayCell]) -> tuple[int, float, float]:
    """Count, mean and variance of scores; zeros without any."""
    count = sum(one.count for one in cells)
    if not count:
        return 0, 0.0, 0.0
    mean = math.fsum(one.total for one in cells) / count
    return count, mean, max(0.0, math.fsum(one.squares for one in cells) / count - mean**2)


def agreed(judges: FallCause, anchor: FallCause) -> FallCause:
    """What judges and the anchor's readers say together; against each other they decide nothing."""
    if anchor.name == "undecided":
        return judges
    if judges.name == "undecided":
        return anchor
    words = f"{judges.words}; {anchor.words}"
    return FallCause(judges.name if judges.name == anchor.name else "undecided", words)


def _common_days(
    stable: Sequence[DayCell], anchor: Sequence[DayCell]
) -> tuple[list[DayCell], list[DayCell]]:
    days = {one.day for one in stable} & {one.day for one in anchor}
    one, other = ([cell for cell in cells if cell.day in days] for cells in (stable, anchor))
    return one, other


def _surely_fell(seen: JudgedFall, tolerance: float) -> bool:
    """D ≤ 1: answers have fallen by no less than the judge's scores."""
    return seen.estimate.fall - seen.estimate.error > tolerance


def _surely_less(readers: FallEstimate, seen: JudgedFall) -> bool:
    """Whether j/D < f surely, and j/D < f/2, for the D that speaks most against it."""
    return all(
        _upper_of_difference(readers, seen.estimate, sensitivity) < 0.0
        and seen.estimate.fall / sensitivity < HALF * readers.fall
        for sensitivity in (seen.sensitivity, 1.0)
    )


def _upper_of_difference(readers: FallEstimate, judged: FallEstimate, sensitivity: float) -> float:
    """Upper bound of j/D − f."""
    variances = [judged.variance / sensitivity**2, readers.variance]
    degrees = _welch([(variances[0], judged.degrees), (variances[1], readers.degrees)])
    difference = judged.fall / sensitivity - readers.fall
    return difference + _quantile(degrees) * math.sqrt(sum(variances))


@dataclass(frozen=True)
class _Side:
    """One time: the standardised mean, its variance and degrees of freedom."""

    mean: float
    variance: float
    degrees: float
    count: int


def _side(
    versions: tuple[Sequence[DayCell], Sequence[DayCell]], shares: Mapping[str, float]
) -> _Side:
    """The mean of the first version less that of the second, by classes; without cells the second
    is nothing. Scores of a day are one cluster, whichever version they are of.

    Variance by days; where days seem not to matter, the upper end of the design effect times that
    of independent scores (`bounds.few_days_lower`)."""
    of_days: dict[str, float] = {}
    of_values, mean, count = 0.0, 0.0, 0
    for sign, cells in zip((1.0, -1.0), versions, strict=True):
        mine = [one for one in cells if one.prompt_class in shares]
        counts = counts_of(mine)
        totals: dict[str, float] = {}
        for one in mine:
            totals[one.prompt_class] = totals.get(one.prompt_class, 0.0) + one.total
        means = {name: totals[name] / counts[name] for name in counts}
        for one in mine:
            name = one.prompt_class
            weight, of_class = shares[name] / counts[name], means[name]
            residual = sign * weight * (one.total - one.count * of_class)
            of_days[one.day] = of_days.get(one.day, 0.0) + residual
            of_values += weight**2 * max(0.0, one.squares - one.count * of_class**2)
        mean += sign * math.fsum(shares[name] * means[name] for name in means)
        count += sum(counts.values())
    days = len(of_days)
    if days < 2:  # of one day nothing follows for others
        return _Side(mean, math.inf, 1.0, count)
    by_days = days / (days - 1) * math.fsum(one * one for one in of_days.values())
    most = 1.0 + math.sqrt(2.0 / days)
    alike = by_days <= most * of_values
    return _Side(
        mean,
        most * of_values if alike else by_days,
        float(MANY_DAYS if alike else days - 1),
        count,
    )


def _welch(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of variances, each with its own."""
    total = sum(variance for variance, _ in parts)
    if total == 0.0:
        return float(MANY_DAYS)
    return total**2 / sum(variance**2 / degrees for variance, degrees in parts)


def _quantile(degrees: float) -> float:
    if degrees >= MANY_DAYS:
        return NormalDist().inv_cdf(1.0 - BEYOND)
    return student_quantile(max(1, int(degrees)), BEYOND)
