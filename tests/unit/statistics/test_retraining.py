"""Test the decision of `quality_dropped`: its rules, their order and their messages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from twin_resources.statistics.detector import Alarm, Fall, StreamEvidence
from twin_resources.statistics.retraining import (
    AlarmContext,
    RetrainingDecision,
    TrainingFingerprint,
    build_run_key,
    decide_on_alarm,
    describe_progress,
    is_incident,
)
from twin_resources.statistics.retraining_limits import (
    DAY_S,
    PRIORITY,
    RetrainingLimits,
    TrainingUsage,
    find_blocking_limit,
    find_growth_cause,
    next_alarm_training_at,
)

ALARM = Alarm("mara", "thumbs", "v3", 2, 917, 123_456.7, 100_000.0, 84, 820)
NOW = 1_000 * DAY_S
CONTEXT = AlarmContext(
    version="v3",
    alarm=ALARM,
    training_fingerprint=TrainingFingerprint("data 2", "recipe 1"),
    usage=TrainingUsage(),
    limits=RetrainingLimits(automatic=True),
    now=NOW,
    alarmed_authors=1,
    armed_authors=1,
)
FALLS = (Fall("fact", 0.41, 0.77, 60),)


def decide_with(**changes: object) -> RetrainingDecision:
    return decide_on_alarm(replace(CONTEXT, **changes))  # type: ignore[arg-type]


def test_a_tick_without_an_alarm_reports_its_numbers() -> None:
    warming_up = StreamEvidence("mara", "thumbs", "v3", value_count=37, days=14)
    armed = StreamEvidence(
        "mara", "judge:rule@1", "v3", value_count=812, floors={"fact": 0.7}, likelihood_ratio=12.3
    )
    lines = [
        describe_progress(evidence, required_values=500, per_day=1.09, threshold=1e5)
        for evidence in (warming_up, armed)
    ]
    assert lines == [
        "thumbs: warm-up 37/500, about 14 months at your rate",
        "judge:rule@1: likelihood ratio 12 (threshold 100,000)",
    ]


def test_an_alarm_starts_one_retraining_with_its_evidence() -> None:
    decision = decide_with(falls=FALLS)
    assert (decision.kind, decision.closes_alarm) == ("train", True)
    assert decision.run_key == build_run_key(ALARM) == "quality:mara:v3:thumbs:2"
    assert decision.message == (
        "thumbs: alarm 2, likelihood ratio 123,457 (threshold 100,000), 84 values since the fall "
        "began; "
        "one retraining starts"
    )
    assert decision.tags == {
        "twin/cause": "quality",
        "twin/author": "mara",
        "twin/version": "v3",
        "twin/stream": "thumbs",
        "twin/alarm": "2",
        "twin/e_value": "123457",
        "twin/threshold": "100000",
        "twin/values": "84",
        "twin/from_sequence": "820",
        "twin/to_sequence": "917",
        "twin/fallen_classes": "fact 0.41 < 0.77 (60)",
        "twin/decision": "train",
    }
    assert decide_with(falls=FALLS) == decision


def test_an_alarm_of_an_earlier_version_is_closed() -> None:
    decision = decide_with(version="v4")
    assert (decision.kind, decision.closes_alarm) == ("held_back", True)
    assert decision.message.endswith("v4 answers now")


@pytest.mark.parametrize(
    ("alarmed", "armed", "incident"),
    [
        (1, 1, False),
        (1, 5, False),
        (2, 2, False),
        (2, 5, False),
        (3, 5, True),
        (2, 20, False),
        (3, 20, True),
        (19, 200, False),
        (20, 200, True),
        (0, 0, False),
    ],
)
def test_an_incident_has_a_tenth_of_the_authors_and_at_least_three(
    alarmed: int, armed: int, incident: bool
) -> None:
    assert is_incident(alarmed, armed) is incident


def test_an_alarm_that_must_wait_stays_open() -> None:
    for usage, limits, reason in (
        (TrainingUsage(), RetrainingLimits(), "--auto-retrain"),
        (
            TrainingUsage(last_started=NOW - 0.25 * DAY_S),
            RetrainingLimits(automatic=True),
            "cooldown, 18 hours left",
        ),
        (TrainingUsage(runs=8), RetrainingLimits(automatic=True), "budget reached: 8 of 8 runs"),
        (
            TrainingUsage(hours=40.0),
            RetrainingLimits(automatic=True),
            "budget reached: 40.0 of 40 hours",
        ),
    ):
        decision = decide_with(usage=usage, limits=limits)
        assert (decision.kind, decision.closes_alarm, decision.run_key) == ("held_back", False, "")
        assert reason in decision.message
    assert (
        decide_with(usage=TrainingUsage(last_started=NOW - 2 * DAY_S, runs=7, hours=39.9)).kind
        == "train"
    )


def test_a_clock_that_was_set_back_restarts_the_cooldown() -> None:
    assert find_blocking_limit(
        "quality",
        TrainingUsage(last_started=NOW + 3_600),
        RetrainingLimits(automatic=True),
        now=NOW,
    ) == ("cooldown, 24 hours left")


def test_erasures_and_requests_wait_only_for_a_run() -> None:
    usage = TrainingUsage(last_started=NOW, runs=99, hours=999.0)
    for cause in ("forget", "by_hand"):
        assert find_blocking_limit(cause, usage, RetrainingLimits(), now=NOW) is None  # type: ignore[arg-type]
        limit = find_blocking_limit(
            cause, TrainingUsage(in_flight_run_id="ab"), RetrainingLimits(), now=NOW
        )  # type: ignore[arg-type]
        assert limit == "run ab is in flight"
    assert find_blocking_limit("new_posts", usage, RetrainingLimits(), now=NOW) is not None


def test_no_cause_starts_a_training_without_consent() -> None:
    limits = RetrainingLimits(automatic=True, missing_consent="no line `consent`")
    for cause in PRIORITY:
        limit = find_blocking_limit(cause, TrainingUsage(), limits, now=NOW)
        assert limit == "nothing is trained without the author's consent: no line `consent`"


def test_each_alarm_training_without_a_release_doubles_the_wait() -> None:
    waits = [
        next_alarm_training_at(TrainingUsage(unreleased_trainings=count)) / DAY_S
        for count in range(8)
    ]
    assert waits == [0.0, 7.0, 14.0, 28.0, 56.0, 112.0, 182.0, 182.0]
    starts = [sum(waits[: count + 1]) for count in range(8)]
    assert sum(day < 365 for day in starts) == 6, (
        "daily alarms must start six runs in the first year"
    )

    usage = TrainingUsage(unreleased_trainings=2, last_unreleased_at=NOW - 13 * DAY_S)
    limits = RetrainingLimits(automatic=True)
    limit = find_blocking_limit("quality", usage, limits, now=NOW)
    assert limit is not None
    assert limit.startswith(
        "the last 2 trainings after an alarm led to no release: the next may start"
    )
    for cause in ("forget", "by_hand", "new_posts"):
        assert find_blocking_limit(cause, usage, limits, now=NOW) is None  # type: ignore[arg-type]
    assert find_blocking_limit("quality", usage, limits, now=NOW + DAY_S) is None


def test_causes_have_an_order_of_priority() -> None:
    causes = sorted(PRIORITY, key=lambda cause: PRIORITY[cause], reverse=True)
    assert causes == ["forget", "by_hand", "quality", "new_posts", "new_pairs"]


@pytest.mark.parametrize(
    ("posts", "pairs", "cause"),
    [(24, 199, None), (25, 0, "new_posts"), (0, 200, "new_pairs"), (25, 200, "new_posts")],
)
def test_enough_new_posts_or_pairs_are_a_cause(posts: int, pairs: int, cause: str | None) -> None:
    assert find_growth_cause(posts, pairs, RetrainingLimits()) == cause
