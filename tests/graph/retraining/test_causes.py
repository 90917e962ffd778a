"""Test which trainings start, wait or come first for requests, growth, alarms and limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.graph.retraining.conftest import LoopWorld, add_new_posts
from tests.queued_notices import queued_notices
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.quality.retraining import alarm_records, retrainings
from twin_resources.quality.retraining.manual_triggers import (
    request_after_alarm,
    request_retraining,
    run_growth_tick,
    run_request_tick,
)
from twin_resources.quality.retraining.score_watch import current_evidence, lower_floor
from twin_resources.quality.retraining.training_inputs import CorpusGrowth
from twin_resources.statistics.detector import StreamEvidence
from twin_resources.statistics.retraining_limits import RetrainingLimits


def test_a_persons_request_ignores_the_limits(world: LoopWorld) -> None:
    world.limits = replace(world.limits, automatic=False, runs_a_month=0, cooldown_days=9)
    number = request_retraining(
        world.state, "ada", asked_by="mara", reason="new recipe", now=world.now.timestamp()
    )

    [launch] = run_request_tick(world.services(), now=world.now).launches

    assert launch.run_key == f"by_hand:ada:{number}"
    assert launch.tags["twin/asked_by"] == "mara"
    assert launch.tags["dagster/priority"] == "30"
    world.launch([launch])
    assert run_request_tick(world.services(), now=world.now).launches == ()
    assert len(world.runs()) == 1


def test_a_failure_notice_names_the_requester_and_the_reason(world: LoopWorld) -> None:
    at = world.now.timestamp()
    request_retraining(world.state, "ada", asked_by="command:mara", reason="new recipe", now=at)
    world.launch(run_request_tick(world.services(), now=world.now).launches, fails=True)

    run_request_tick(world.services(), now=world.now)

    notice = queued_notices(world.state, author="ada")[0]
    assert notice.event == "failed"
    assert notice.text.startswith("Requested by command:mara: new recipe. Attempt 1 failed in run ")


def test_a_forget_request_comes_first_and_fulfills_both_requests(world: LoopWorld) -> None:
    at = world.now.timestamp()
    request_retraining(world.state, "ada", asked_by="mara", reason="again", now=at)
    with world.state.transaction() as connection:
        retrainings.request_retraining(
            connection, author="ada", cause="forget", asked_by="mara", reason="a post", now=at
        )

    [launch] = run_request_tick(world.services(), now=world.now).launches

    assert launch.run_key == "forget:ada:2"
    assert launch.tags["dagster/priority"] == "40"
    with world.state.read_transaction() as connection:
        assert retrainings.open_requests(connection) == {}


def test_an_alarm_from_outside_has_the_limits_of_an_alarm(world: LoopWorld) -> None:
    world.now += timedelta(minutes=1)  # after the release
    at = world.now.timestamp()
    world.limits = replace(world.limits, automatic=False)
    first = request_after_alarm(world.state, "ada", asked_by="alarm: m", reason="low", now=at)
    again = request_after_alarm(world.state, "ada", asked_by="alarm: m", reason="low", now=at)
    assert (first[1], again) == (True, (first[0], False))
    notices = [notice.event for notice in queued_notices(world.state, author="ada")]
    assert notices.count("alarm") == 1

    def run_ticks() -> tuple[str, list[str]]:
        message = run_request_tick(world.services(), now=world.now).messages.get("ada", "")
        return message, [launch.run_key for launch in world.tick().launches]

    assert "automatic retraining is off" in run_ticks()[0]
    world.limits = replace(world.limits, automatic=True)
    assert "waits for something new to learn from: v1, stable" in run_ticks()[0]
    add_new_posts(world)
    assert run_ticks() == ("quality: one retraining starts", [f"quality:ada:{first[0]}"])
    with world.state.read_transaction() as connection:
        assert retrainings.open_requests(connection) == {}


def test_an_alarm_from_outside_is_void_once_another_version_answers(world: LoopWorld) -> None:
    before_release = world.now.timestamp() - 10 * 365 * 86_400
    add_new_posts(world)
    request_after_alarm(world.state, "ada", asked_by="alarm: m", reason="low", now=before_release)

    tick = run_request_tick(world.services(), now=world.now)

    assert "another version answers since that alarm" in tick.messages["ada"]
    assert world.tick().launches == ()


def test_a_request_waits_for_the_run_in_flight(world: LoopWorld) -> None:
    add_new_posts(world).add_good("ada", 200)
    world.add_bad("ada", 40)
    [run_id] = world.queue(world.tick().launches)
    at = world.now.timestamp()
    request_retraining(world.state, "ada", asked_by="mara", reason="again", now=at)

    tick = run_request_tick(world.services(), now=world.now)

    assert tick.launches == ()
    assert f"run {run_id} is in flight" in tick.messages["ada"]
    world.fail(run_id)
    assert run_request_tick(world.services(), now=world.now).launches == ()  # attempts remain
    world.judge("ada", "ada-2", "failed")
    launches = run_request_tick(world.services(), now=world.now).launches
    assert [launch.author for launch in launches] == ["ada"]


def test_a_simultaneous_alarm_and_growth_start_one_retraining(world: LoopWorld) -> None:
    add_new_posts(world).add_good("ada", 200)
    world.add_bad("ada", 40)
    world.inputs.growths["ada"] = CorpusGrowth(new_posts=30, new_pairs=0)
    launches = world.tick().launches

    growth_tick = run_growth_tick(world.services(), now=world.now)

    assert len(launches) == 1
    assert growth_tick.launches == ()
    assert "is in flight" in growth_tick.messages["ada"]


def test_enough_new_posts_start_one_retraining_once(world: LoopWorld) -> None:
    world.inputs.growths = {"ada": CorpusGrowth(new_posts=24, new_pairs=0)}
    assert "24/25 new posts" in run_growth_tick(world.services(), now=world.now).messages["ada"]
    world.inputs.growths = {"ada": CorpusGrowth(new_posts=25, new_pairs=3)}

    [launch] = run_growth_tick(world.services(), now=world.now).launches

    assert launch.run_key == "new_posts:ada:v1:posts-1"
    assert launch.tags["twin/new_posts"] == "25"
    assert launch.tags["dagster/priority"] == "10"
    world.launch([launch])
    tick = run_growth_tick(world.services(), now=world.now)
    assert tick.launches == ()
    assert "already started" in tick.messages["ada"]
    world.limits = replace(world.limits, automatic=False)
    assert run_growth_tick(world.services(), now=world.now).messages == {}


def test_cooldown_and_budget_keep_an_alarm_open(world: LoopWorld) -> None:
    add_new_posts(world).add_good("ada", 200)
    request_retraining(world.state, "ada", asked_by="m", reason="r", now=world.now.timestamp())
    world.launch(run_request_tick(world.services(), now=world.now).launches)
    world.tick()  # stores the inputs of that run
    world.inputs.datasets["ada"] = "posts-3"  # otherwise the alarm has nothing to learn from
    world.add_bad("ada", 40)
    world.limits = replace(world.limits, cooldown_days=1.0)
    assert "cooldown, 24 hours left" in world.tick().messages["ada"]
    world.limits = replace(world.limits, cooldown_days=0.0, runs_a_month=1)

    tick = world.tick()

    assert tick.launches == ()
    assert "budget reached: 1 of 1 runs" in tick.messages["ada"]
    assert queued_notices(world.state, author="ada")[0].event == "budget_reached"
    world.limits = replace(world.limits, runs_a_month=2)
    assert [launch.run_key for launch in world.tick().launches] == ["quality:ada:v1:thumbs:1"]


@pytest.mark.long
@pytest.mark.parametrize("authors", [("ada", "bob"), ("ada", "bob", "cleo")])
def test_alarms_of_three_authors_within_two_days_are_one_incident(
    world: LoopWorld, authors: tuple[str, ...]
) -> None:
    """Alarms of two authors are not an incident. Alarms of an incident wait two weeks."""
    for author in authors[2:]:
        write_author(world.settings, Author(author, author.title()))
        world.release(author, f"{author}-1")
    for author in authors:
        add_new_posts(world, author).add_good(author, 200)
    world.tick()
    for author in authors:
        world.add_bad(author, 60)

    tick = world.tick()

    notices = [notice for notice in queued_notices(world.state) if notice.event == "incident"]
    if len(authors) == 2:
        assert sorted(launch.author for launch in tick.launches) == ["ada", "bob"]
        assert notices == []
        return
    assert tick.launches == ()
    until = (world.now + timedelta(days=14)).date().isoformat()
    for author in authors:
        assert "3 of 3 authors within two days: one incident" in tick.messages[author]
        assert f"waits until {until}" in tick.messages[author]
    assert len(notices) == 1
    assert "ada, bob, cleo" in notices[0].text
    assert sorted(launch.author for launch in world.tick(days=15).launches) == sorted(authors)


def test_a_later_version_is_not_compared_with_a_forced_one(world: LoopWorld) -> None:
    world.add_good("ada", 200)
    world.release("ada", "broken", force=True)
    world.settle("ada", [0.3] * 700, version="v2")
    world.tick()
    assert read_evidence(world).floors["short"] == pytest.approx(0.77, abs=0.01), (
        "the floor is not that of v1"
    )
    world.release("ada", "ada-3")
    world.add_good("ada", 40, version="v3")

    world.tick()

    evidence = read_evidence(world)
    assert evidence.version == "v3"
    assert evidence.floors["short"] == pytest.approx(0.77, abs=0.01)


def test_a_forced_first_version_is_watched_but_sets_no_floor(world: LoopWorld) -> None:
    write_author(world.settings, Author("cleo", "Cleo"))
    world.release("cleo", "broken", force=True)
    add_new_posts(world, "cleo").add_good("cleo", 200)
    assert world.tick().launches == ()
    world.add_bad("cleo", 40)

    [launch] = world.tick().launches

    assert launch.run_key == "quality:cleo:v1:thumbs:1"
    world.release("cleo", "cleo-2")
    world.settle("cleo", [1.0], version="v2")
    world.tick()
    assert not read_evidence(world, "cleo").is_armed


def read_evidence(world: LoopWorld, author: str = "ada") -> StreamEvidence:
    with world.state.read_transaction() as connection:
        [evidence] = current_evidence(connection)[author]
    return evidence


def test_values_of_one_day_do_not_arm_the_detector(world: LoopWorld) -> None:
    world.rules = replace(world.rules, groups_by_day=True)
    world.add_good("ada", 400)
    world.tick()
    assert (read_evidence(world).value_count, read_evidence(world).is_armed) == (400, False)


@pytest.mark.long
def test_alarms_do_not_depend_on_how_often_ticks_run(world: LoopWorld) -> None:
    """One author's days are checked daily, and the other's all at once."""
    world.rules = replace(world.rules, groups_by_day=True)
    world.limits = replace(world.limits, automatic=False)
    today = int(world.now.timestamp()) // 86_400
    for author in ("ada", "bob"):
        for day in range(40):
            (world.add_good if day < 30 else world.add_bad)(author, 20, day=today - 60 + day)
            if author == "ada":
                world.tick()
    world.tick()
    with world.state.read_transaction() as connection:
        ada, bob = (alarm_records.list_alarms(connection, author) for author in ("ada", "bob"))
    [ada_alarm], [bob_alarm] = (
        [replace(row.alarm, author="", threshold=0.0) for row in own] for own in (ada, bob)
    )
    assert replace(ada_alarm, sequence=0, likelihood_ratio=0, values_since_fall=0) == replace(
        bob_alarm, sequence=0, likelihood_ratio=0, values_since_fall=0
    )


@pytest.mark.long
def test_an_alarm_without_a_release_resets_the_floor(world: LoopWorld) -> None:
    """Without a better version, later votes become the comparison, and a further fall is detected.

    The first votes were unusually good, or the readers changed.
    """
    add_new_posts(world).add_good("ada", 200)
    world.settle("ada", [1.0, 0.0] * 20)
    [first] = world.tick().launches
    world.launch([first])
    world.judge("ada", "ada-1", "failed")
    world.tick()
    world.settle("ada", [1.0, 0.0] * 200)
    assert world.tick().launches == ()
    assert read_evidence(world).floors["short"] == pytest.approx(0.47, abs=0.01)
    world.inputs.datasets["ada"] = "posts-3"
    world.settle("ada", [0.0] * 40)
    assert world.tick(days=8).launches != (), "no training after seven days"


@pytest.mark.long
def test_a_changed_tolerance_applies_to_the_next_values(world: LoopWorld) -> None:
    world.add_good("ada", 700)
    world.tick()
    world.rules = replace(world.rules, tolerance=0.2)
    world.add_good("ada", 10)

    world.tick()

    assert read_evidence(world).floors["short"] == pytest.approx(0.6, abs=0.01)


def test_a_lowered_floor_discards_earlier_values(world: LoopWorld) -> None:
    """Lowering the floor closes an open alarm and starts a new comparison."""
    world.limits = replace(world.limits, automatic=False)
    add_new_posts(world).add_good("ada", 200)
    world.add_bad("ada", 47)
    assert "--auto-retrain" in world.tick().messages["ada"]
    with world.state.transaction() as connection:
        floor = lower_floor(connection, "ada", asked_by="eve", reason="a class reads it", at=1.0)
    assert floor == (247, 1)
    world.limits = replace(world.limits, automatic=True)

    assert world.tick().launches == ()
    world.add_bad("ada", 200)
    assert world.tick().launches == ()

    with world.state.read_transaction() as connection:
        [record] = alarm_records.list_alarms(connection, "ada")
    assert (record.is_open, record.decided_by) == (False, "lowered_floor")
    assert read_evidence(world).value_count == 200
    assert read_evidence(world).floors["short"] == pytest.approx(0.17, abs=0.01)
    world.release("ada", "ada-2")
    world.settle("ada", [1.0] * 30, version="v2")
    world.tick()
    assert read_evidence(world).floors["short"] < 0.2  # not the former floor of v1


@pytest.mark.long
def test_a_lowered_floor_applies_to_a_restored_version(world: LoopWorld) -> None:
    """After a rollback, v1 is compared only with current votes."""
    world.add_good("ada", 700)
    world.tick()
    world.release("ada", "ada-2")
    world.add_good("ada", 20, version="v2")  # no fall, so no automatic rollback
    world.tick()
    with world.state.transaction() as connection:
        lower_floor(connection, "ada", asked_by="eve", reason="a class reads it", at=1.0)
    world.registry.rollback("ada", actor="eve", reason="back")

    world.settle("ada", [0.0, 1.0] * 200)
    world.tick()

    with world.state.read_transaction() as connection:
        versions = {record.alarm.version for record in alarm_records.list_alarms(connection, "ada")}
        assert "v1" not in versions
        [evidence] = current_evidence(connection)["ada"]
    assert (evidence.version, evidence.value_count) == ("v1", 400)
    assert evidence.floors["short"] < 0.5


@pytest.mark.long
def test_one_authors_invalid_settings_do_not_block_another_author(world: LoopWorld) -> None:
    def limits(author: str) -> RetrainingLimits:
        if author == "ada":
            raise TwinError("read ada's settings", found="invalid TOML", next_step="correct it")
        return world.limits

    world.inputs.growths = {
        slug: CorpusGrowth(new_posts=25, new_pairs=0) for slug in ("ada", "bob")
    }

    tick = run_growth_tick(replace(world.services(), limits=limits), now=world.now)

    assert [launch.author for launch in tick.launches] == ["bob"]
    assert "Found: invalid TOML" in tick.messages["ada"]
