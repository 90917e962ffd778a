"""Detect a fall in a stream's mean, and the day on which the fall began.

Scope: day sums, the comparison of the days since a possible fall with those before it, the evidence
and its threshold, and the record of an alarm.
Out of scope: reading the sums (`quality/retraining/score_watch.py`) and the decision on an alarm
(`retraining.py`).
Sources: the generalized likelihood ratio for a change of the mean at an unknown time, Siegmund and
Venkatraman, Annals of Statistics 23 (1995); variance between groups by moments, DerSimonian and
Laird, Controlled Clinical Trials 7 (1986); t as a normal deviate, Wallace, Annals of Mathematical
Statistics 30 (1959).

The unit is a day, because all values of a day share a server, a topic of debate and a mood. Each
split divides the days into B (before) and A (since). r_d is the mean over day d of each value minus
its class's mean in B.

    w_d = 1/(σ²/n_d + τ²)      r_A = Σ_A w·r / Σ_A w      r_B likewise
    z = (r_B − r_A − tolerance) / √(f·(1/Σ_A w + 1/Σ_B w))
    E = max over splits of exp(z²/2)                            alarm when E ≥ C·N

σ² is the variance within days. τ² is the variance between days of B (.03² to .1²), so a day of
3,000 values has no more weight than a few days of 100. f, from 1 to 4, is the variance of whole
weeks of B divided by the variance that their days predict: moods last longer than a day. z is the
normal deviate of t over B's days. Each class is compared with itself, because a change in the
questions is not a change in the answers. Half of the allowed false alarms are for falls in single
classes.

A must be lower by more than the tolerance even without its worst day, because one bad day is not a
fall. B reaches back 60 days or 1,000 values, whichever is further. A reaches back 45 days or 500
values. The baseline therefore changes slowly, but still follows the seasons.

C = 180 for N = 1 stream was chosen by simulation (`tests/bench/bench_loop.py`): at 30 values a day,
2 % of homes without a fall raise an alarm in 5,000 values, and 9 % in the worst world.
"""
# pyright: strict

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

HORIZON = 5_000
ALPHA = 0.05
TOLERANCE = 0.03  # a smaller fall in the mean does not justify training
MIN_VALUES = 100  # before a fall, on at least `MIN_DAYS` days
MIN_DAYS = 14  # includes two weekends
MIN_PER_CLASS = 60  # before a fall; rarer classes are not compared
MIN_VALUES_SINCE, MIN_DAYS_SINCE = 20, 2  # one day alone never raises an alarm
BEFORE_DAYS, BEFORE_VALUES = 60, 1_000
SINCE_DAYS, SINCE_VALUES = 45, 500
MIN_BETWEEN_DAY_VARIANCE = 0.03**2  # τ²; days differ in every home
# Without these limits, one outage in B would hide the next fall.
MAX_BETWEEN_DAY_VARIANCE, MAX_WEEKLY_RATIO = 0.1**2, 4.0
MIN_WITHIN_DAY_VARIANCE = 0.05**2
ONE_STREAM_THRESHOLD = 180.0
FloatArray = NDArray[np.float64]


def compute_threshold(*, armed_streams: int, horizon: int = HORIZON, alpha: float = ALPHA) -> float:
    """Return C·N: 180 for one armed stream and the default horizon and alpha."""
    return ONE_STREAM_THRESHOLD * armed_streams * (horizon / HORIZON) * (ALPHA / alpha)


@dataclass(frozen=True)
class DaySum:
    """Sums over the values of one version and class on one day.

    Attributes:
        day: days since the epoch, or any increasing number.
        total, squares: Σx and Σx² of the values, each in [0, 1].
        first, last: the lowest and highest sequence number.
        settled_ms: the time at which the values were settled. Values added to the day later form
            another sum.
    """

    day: int
    version: str
    prompt_class: str
    count: int
    total: float
    squares: float
    first: int
    last: int
    settled_ms: int = 0


@dataclass(frozen=True)
class Fall:
    """A class whose mean since the fall is below its earlier mean by more than the tolerance."""

    prompt_class: str
    mean: float
    floor: float
    recent_count: int


@dataclass(frozen=True)
class StreamEvidence:
    """The evidence from one stream that a version's answers have become worse.

    Attributes:
        value_count, days: the number of this version's values, and of the days with values.
        baseline_count: the number of values in B of the split with the most evidence, including
            those of other versions; 0 during warm-up.
        floors: prompt class → the mean of B minus the tolerance; empty during warm-up.
        likelihood_ratio: E; 0 during warm-up.
        since, last: the sequence numbers of the first and last value of A.
        recent_count: the number of values in A.
        falls: the classes that fell, largest fall first.
        start_day: the first day of A.
    """

    author: str
    stream: str
    version: str
    value_count: int = 0
    days: int = 0
    baseline_count: int = 0
    floors: Mapping[str, float] = field(default_factory=dict[str, float])
    likelihood_ratio: float = 0.0
    since: int = 0
    last: int = 0
    recent_count: int = 0
    falls: tuple[Fall, ...] = ()
    start_day: int = 0

    @property
    def is_armed(self) -> bool:
        """Whether a fall could be detected. N of the threshold counts the armed streams."""
        return bool(self.floors)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> StreamEvidence:
        """Restore the evidence from what `asdict` returned, also after JSON."""
        values = dict(fields)
        falls = tuple(Fall(**fall) for fall in values.pop("falls"))
        return cls(**values, falls=falls)


@dataclass(frozen=True)
class Alarm:
    """The evidence at the moment of an alarm, which becomes the tags of the run.

    Attributes:
        number: 1 for the first alarm of this stream and version.
        sequence: the sequence number of the last value on the day that raised the alarm.
        likelihood_ratio, threshold: E and C·N.
        values_since_fall: the number of values since the fall began.
        since: the sequence number of the first of these values.
    """

    author: str
    stream: str
    version: str
    number: int
    sequence: int
    likelihood_ratio: float
    threshold: float
    values_since_fall: int
    since: int

    @property
    def description(self) -> str:
        """The alarm as text: `thumbs: alarm 1, likelihood ratio 5,400 (threshold 180) …`."""
        return (
            f"{self.stream}: alarm {self.number}, likelihood ratio {self.likelihood_ratio:,.0f} "
            f"(threshold {self.threshold:,.0f}), {self.values_since_fall:,} values since the fall "
            "began"
        )


@dataclass(frozen=True)
class _DayTables:
    """Count, Σx and Σx² (first axis) per day (rows) and class (columns), for B and for A."""

    before: FloatArray
    since: FloatArray

    @classmethod
    def from_sums(
        cls, sums: Sequence[DaySum], days: Sequence[int], names: Sequence[str], version: str
    ) -> _DayTables:
        rows = np.searchsorted(days, [day_sum.day for day_sum in sums])
        columns = np.searchsorted(names, [day_sum.prompt_class for day_sum in sums])
        values = np.array([(day_sum.count, day_sum.total, day_sum.squares) for day_sum in sums]).T
        is_own_version = np.array([day_sum.version == version for day_sum in sums])
        before_table, since_table = np.zeros((2, 3, len(days), len(names)))
        index: Any = (slice(None), rows, columns)
        np.add.at(before_table, index, values)
        np.add.at(since_table, index, values * is_own_version)
        return cls(before_table, since_table)

    def select_class(self, column: int) -> _DayTables:
        column_slice = slice(column, column + 1)
        return _DayTables(self.before[:, :, column_slice], self.since[:, :, column_slice])


def compute_evidence(
    sums: Sequence[DaySum],
    *,
    author: str,
    stream: str,
    version: str,
    tolerance: float = TOLERANCE,
    min_values: int = MIN_VALUES,
) -> StreamEvidence:
    """Return the evidence, at the end of the last day, that a version's answers have become worse.

    Args:
        sums: day sums of one stream, of this version and of the versions to compare with. Days that
            must not be compared (history, a fall that ended) are excluded.
        tolerance: the largest fall in the mean that is ignored.
        min_values: the minimum number of values in B.
    """
    own_sums = [day_sum for day_sum in sums if day_sum.version == version]
    value_count = sum(day_sum.count for day_sum in own_sums)
    days = len({day_sum.day for day_sum in own_sums})
    last_sequence = max((day_sum.last for day_sum in own_sums), default=0)
    no_evidence = StreamEvidence(author, stream, version, value_count, days, last=last_sequence)
    if not own_sums:
        return no_evidence
    sums, dates = _select_recent_sums(sums)
    class_names = sorted({day_sum.prompt_class for day_sum in sums})
    table = _DayTables.from_sums(sums, dates, class_names, version)
    splits, before_starts = _candidate_splits(table)
    if not len(splits):
        return no_evidence
    z_scores = [_z_scores(table, splits, before_starts, dates, tolerance, min_values)]
    if len(class_names) > 1:
        z_scores += [
            _z_scores(
                table.select_class(column), splits, before_starts, dates, tolerance, MIN_PER_CLASS
            )
            for column in range(len(class_names))
        ]
    z = np.array(z_scores)
    tested_class_count = np.count_nonzero(np.isfinite(z[1:]).any(axis=1))
    log_evidence = np.where(z > 0, z * z / 2.0, np.where(np.isfinite(z), 0.0, -np.inf))
    if tested_class_count > 1:
        log_evidence -= np.log([2.0, *[2.0 * tested_class_count] * len(class_names)])[:, None]
    column, split = np.unravel_index(int(np.argmax(log_evidence)), log_evidence.shape)
    tested_names = [class_names[column - 1]] if column else class_names
    return _build_split_evidence(
        no_evidence, sums, table, class_names, dates, splits[split], before_starts[split],
        float(log_evidence[column, split]), tested_names, tolerance, min_values,
    )  # fmt: skip


def _select_recent_sums(sums: Sequence[DaySum]) -> tuple[Sequence[DaySum], list[int]]:
    """Return the sums of the days that A and B can reach, and these days in order."""
    counts = Counter[int]()
    for day_sum in sums:
        counts[day_sum.day] += day_sum.count
    days = sorted(counts)
    values, first_row = 0, len(days)
    while first_row and (
        len(days) - first_row < SINCE_DAYS + BEFORE_DAYS or values < SINCE_VALUES + BEFORE_VALUES
    ):
        first_row -= 1
        values += counts[days[first_row]]
    days = days[first_row:]
    return [day_sum for day_sum in sums if day_sum.day >= days[0]], days


def _candidate_splits(table: _DayTables) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows at which A may begin and, for each of them, the row at which B begins."""
    since_counts, before_counts = (counts[0].sum(axis=1) for counts in (table.since, table.before))
    rows = len(since_counts)
    values_from_row = since_counts[::-1].cumsum()[::-1]  # values from each row to the end
    is_recent = (np.arange(rows) >= rows - SINCE_DAYS) | (values_from_row <= SINCE_VALUES)
    days_from_row = (since_counts > 0)[::-1].cumsum()[::-1]
    has_enough_data = (values_from_row >= MIN_VALUES_SINCE) & (days_from_row >= MIN_DAYS_SINCE)
    splits = np.flatnonzero(
        is_recent & has_enough_data & (since_counts > 0) & (np.arange(rows) >= MIN_DAYS)
    )
    cumulative_values = np.concatenate([[0.0], before_counts.cumsum()])
    start_by_values = (
        np.searchsorted(cumulative_values, cumulative_values[splits] - BEFORE_VALUES, side="right")
        - 1
    )
    return splits, np.maximum(0, np.minimum(splits - BEFORE_DAYS, start_by_values))


def _z_scores(
    table: _DayTables,
    splits: NDArray[np.intp],
    starts: NDArray[np.intp],
    dates: Sequence[int],
    tolerance: float,
    min_values: int,
) -> FloatArray:
    """Return each split's z-score; −∞ where A or B has too few values or days."""
    row = np.arange(len(dates))
    is_before = (row >= starts[:, None]) & (row < splits[:, None])
    is_since = row >= splits[:, None]
    count, total, _ = table.before
    class_counts = is_before @ count
    has_enough_values = class_counts >= min(MIN_PER_CLASS, min_values)
    means = np.divide(
        is_before @ total, class_counts, out=np.zeros_like(class_counts), where=has_enough_values
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        within_day_variance = np.maximum(
            _variance(table.before, has_enough_values, means, is_before), MIN_WITHIN_DAY_VARIANCE
        )
        counts_before, residuals_before = _residuals(
            table.before, has_enough_values, means, is_before
        )
        days = (counts_before > 0).sum(axis=1)
        between_day_variance = _between_day_variance(
            counts_before, residuals_before, within_day_variance
        )
        weights = _day_weights(counts_before, within_day_variance, between_day_variance)
        mean_before = (weights * residuals_before).sum(axis=1) / weights.sum(axis=1)
        weekly_ratio = _weekly_variance_ratio(
            weights, residuals_before - mean_before[:, None], dates
        )
        counts_since, residuals_since = _residuals(table.since, has_enough_values, means, is_since)
        variance_since = _variance(table.since, has_enough_values, means, is_since)
        weights_since = _day_weights(
            counts_since, np.maximum(within_day_variance, variance_since), between_day_variance
        )
        weighted_deficits = weights_since * (mean_before[:, None] - residuals_since)
        mean_since = mean_before - weighted_deficits.sum(axis=1) / weights_since.sum(axis=1)
        worst_day = weighted_deficits.argmax(axis=1)[:, None]
        deficit_without_worst_day, weight_without_worst_day = (
            values_by_day.sum(axis=1) - np.take_along_axis(values_by_day, worst_day, axis=1)[:, 0]
            for values_by_day in (weighted_deficits, weights_since)
        )
        variance = weekly_ratio * (1.0 / weights.sum(axis=1) + 1.0 / weights_since.sum(axis=1))
        t_statistic: FloatArray = (mean_before - mean_since - tolerance) / np.sqrt(variance)
        is_lasting = deficit_without_worst_day > tolerance * weight_without_worst_day
        t_statistic = np.where(is_lasting, t_statistic, np.minimum(t_statistic, 0.0))
        z_score = _normal_deviate(t_statistic, np.maximum(days - 1, 1))
    has_enough_data = (counts_before.sum(axis=1) >= min_values) & (days >= MIN_DAYS)
    has_enough_data &= (counts_since.sum(axis=1) >= MIN_VALUES_SINCE) & (
        (counts_since > 0).sum(axis=1) >= MIN_DAYS_SINCE
    )
    return np.where(has_enough_data & np.isfinite(z_score), z_score, -np.inf)


def _day_weights(counts: FloatArray, within: FloatArray, between: FloatArray) -> FloatArray:
    """Return w_d from n_d and the variances within and between days; 0 for days without values."""
    return np.where(counts > 0, 1.0 / (within / counts + between), 0.0)


def _normal_deviate(t: FloatArray, degrees_of_freedom: NDArray[np.int_]) -> FloatArray:
    """Return the normal deviate with about the same tail probability as t (Wallace 1959)."""
    magnitude = np.sqrt(degrees_of_freedom * np.log1p(t * t / degrees_of_freedom))
    return np.sign(t) * magnitude * (8 * degrees_of_freedom + 1) / (8 * degrees_of_freedom + 3)


def _between_day_variance(
    counts: FloatArray, residuals: FloatArray, within_day_variance: FloatArray
) -> FloatArray:
    """Return τ² of each split by moments, within its limits."""
    excess = (counts * residuals * residuals / within_day_variance).sum(axis=1) - (
        (counts > 0).sum(axis=1) - 1
    )
    pairs = counts.sum(axis=1) - (counts * counts).sum(axis=1) / counts.sum(axis=1)
    variance = excess * within_day_variance[:, 0] / pairs
    return np.clip(variance, MIN_BETWEEN_DAY_VARIANCE, MAX_BETWEEN_DAY_VARIANCE)[:, None]


def _residuals(
    table: FloatArray,
    has_enough_values: NDArray[np.bool_],
    means: FloatArray,
    is_included: NDArray[np.bool_],
) -> tuple[FloatArray, FloatArray]:
    """Return n_d and r_d of each split (rows) and day (columns); n_d is 0 on excluded days."""
    count, total, _ = table
    day_counts = np.asarray(has_enough_values, dtype=np.float64) @ count.T
    sums = (
        np.asarray(has_enough_values, dtype=np.float64) @ total.T
        - (has_enough_values * means) @ count.T
    )
    return day_counts * is_included, np.divide(
        sums, day_counts, out=np.zeros_like(day_counts), where=day_counts > 0
    )


def _variance(
    table: FloatArray,
    has_enough_values: NDArray[np.bool_],
    means: FloatArray,
    is_included: NDArray[np.bool_],
) -> FloatArray:
    """Return the variance of the included days' values about their own mean residual.

    It is computed for A too, because thumbs with a lower mean vary more.
    """
    count, total, squares = np.where(has_enough_values, is_included @ table, 0.0)
    values = np.maximum(count.sum(axis=1), 1.0)
    mean_residual = (total - means * count).sum(axis=1) / values
    spread = (squares - 2.0 * means * total + count * means**2).sum(axis=1)
    return np.maximum(spread / values - mean_residual**2, 0.0)[:, None]


def _weekly_variance_ratio(
    weights: FloatArray, residuals: FloatArray, dates: Sequence[int]
) -> FloatArray:
    """Return f: the variance of weekly sums divided by the variance that their days predict."""
    weeks = np.asarray(dates) // 7
    week_membership = (weeks[:, None] == np.unique(weeks)[None, :]).astype(np.float64)
    week_weights = weights @ week_membership
    sums = (weights * residuals) @ week_membership
    ratio = np.divide(
        sums**2, week_weights, out=np.zeros_like(week_weights), where=week_weights > 0
    ).sum(axis=1)
    week_count = (week_weights > 0).sum(axis=1)
    return np.where(
        week_count >= 3, np.clip(ratio / np.maximum(week_count - 1, 1), 1.0, MAX_WEEKLY_RATIO), 1.0
    )


def _build_split_evidence(
    empty: StreamEvidence,
    sums: Sequence[DaySum],
    table: _DayTables,
    class_names: Sequence[str],
    dates: Sequence[int],
    split: int,
    start: int,
    log_evidence: float,
    tested_classes: Collection[str],
    tolerance: float,
    min_values: int,
) -> StreamEvidence:
    """Return the evidence of one split, with the classes that fell."""
    if not math.isfinite(log_evidence):
        return empty
    before_counts, before_totals, _ = table.before[:, start:split].sum(axis=1)
    since_counts, since_totals, _ = table.since[:, split:].sum(axis=1)
    floors: dict[str, float] = {}
    falls: list[Fall] = []
    for column, name in enumerate(class_names):
        if before_counts[column] < min(MIN_PER_CLASS, min_values):
            continue
        floors[name] = float(before_totals[column] / before_counts[column]) - tolerance
        if name in tested_classes and (value_count := int(since_counts[column])):
            mean_since = float(since_totals[column]) / value_count
            if mean_since < floors[name]:
                falls.append(Fall(name, mean_since, floors[name], value_count))
    own_sums = [
        day_sum
        for day_sum in sums
        if day_sum.day >= dates[split]
        and day_sum.version == empty.version
        and day_sum.prompt_class in tested_classes
    ]
    return replace(
        empty,
        baseline_count=int(before_counts.sum()),
        floors=floors,
        likelihood_ratio=math.exp(min(log_evidence, 700.0)),
        since=min(day_sum.first for day_sum in own_sums),
        recent_count=sum(day_sum.count for day_sum in own_sums),
        falls=tuple(sorted(falls, key=lambda fall: (fall.mean - fall.floor, fall.prompt_class))),
        start_day=dates[split],
    )
