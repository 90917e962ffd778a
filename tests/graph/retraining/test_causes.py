"""Requests, growth, limits and shared causes: what starts, what waits, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from tests.graph.retraining.conftest import LoopWorld, with_new_posts
from tests.queued_notices import queued_notices
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.quality.retraining import alarm_records, retrainings
from twin_resources.quality.retraining.manual_triggers import (
    request_retraining,
    run_growth_tick,
    run_request_tick,
)
from twin_resources.quality.retraining.score_watch import current_evidence, lower_floor
from twin_resources.quality.retraining.training_inputs import CorpusGrowth
from twin_resources.statistics.detector import StreamEvidence
from twin_resources.statistics.retraining_limits import RetrainingLimits
from twin_resources.storage.state.state_tables import watches


def test_a_person_gets_one_retraining_whatever_the_limits_say(world: LoopWorld) -> None:
    world.limits = replace(world.limits, automatic=False, runs_a_month=0, cooldown_days=9)
    number = request_retraining(
        world.state, "ada", asked_by="mara", reason="new recipe", now=world.now.timestamp()
    )

    [launch] = run_request_tick(world.loop(), now=world.now).launches

    assert launch.run_key == f"by_hand:ada:{number}"
    assert launch.tags["twin/asked_by"] == "mara"
    assert launch.tags["dagster/priority"] == "30"
    world.launch([launch])
    assert run_request_tick(world.loop(), now=world.now).launches == ()
    assert len(world.runs()) == 1


def test_who_asked_and_why_is_told_when_it_fails(world: LoopWorld) -> None:
    at = world.now.timestamp()
    request_retraining(world.state, "ada", asked_by="command:mara", reason="new recipe", now=at)
    world.launch(run_request_tick(world.loop(), now=world.now).launches, fails=True)

    run_request_tick(world.loop(), now=world.now)

    notice = queued_notices(world.state, author="ada")[0]
    assert notice.event == "failed"
    assert notice.text.startswith(
        "Requested by command:mara: new recipe. It failed after 1 attempts, "
    )


def test_forgetting_comes_before_a_person_and_meets_both(world: LoopWorld) -> None:
    at = world.now.timestamp()
    request_retraining(world.state, "ada", asked_by="mara", reason="again", now=at)
    with world.state.transaction() as connection:
        retrainings.request_retraining(
            connection, author="ada", cause="forget", asked_by="mara", reason="a post", now=at
        )

    [launch] = run_request_tick(world.loop(), now=world.now).launches

    assert launch.run_key == "forget:ada:2"
    assert launch.tags["dagster/priority"] == "40"
    with world.state.read_transaction() as connection:
        assert retrainings.open_requests(connection) == {}


def test_a_request_waits_for_the_run_in_flight(world: LoopWorld) -> None:
    with_new_posts(world).good("ada", 200)
    world.bad("ada", 40)
    [run_id] = world.queue(world.tick().launches)
    at = world.now.timestamp()
    request_retraining(world.state, "ada", asked_by="mara", reason="again", now=at)

    tick = run_request_tick(world.loop(), now=world.now)

    assert tick.launches == ()
    assert f"run {run_id} is in flight" in tick.messages["ada"]
    world.fail(run_id)
    assert run_request_tick(world.loop(), now=world.now).launches == ()  # it has attempts left
    world.judge("ada", "ada-2", "failed")
    assert [launch.author for launch in run_request_tick(world.loop(), now=world.now).launches] == [
        "ada"
    ]


def test_an_alarm_and_growth_at_once_start_one_retraining(world: LoopWorld) -> None:
    with_new_posts(world).good("ada", 200)
    world.bad("ada", 40)
    world.inputs.came["ada"] = CorpusGrowth(new_posts=30, new_pairs=0)
    quality = world.tick().launches

    grown = run_growth_tick(world.loop(), now=world.now)

    assert len(quality) == 1
    assert grown.launches == ()
    assert "is in flight" in grown.messages["ada"]


def test_enough_new_posts_start_one_retraining_once(world: LoopWorld) -> None:
    world.inputs.came = {"ada": CorpusGrowth(new_posts=24, new_pairs=0)}
    assert "24/25 new posts" in run_growth_tick(world.loop(), now=world.now).messages["ada"]
    world.inputs.came = {"ada": CorpusGrowth(new_posts=25, new_pairs=3)}

    [launch] = run_growth_tick(world.loop(), now=world.now).launches

    assert launch.run_key == "new_posts:ada:v1:posts-1"
    assert launch.tags["twin/new_posts"] == "25"
    assert launch.tags["dagster/priority"] == "10"
    world.launch([launch])
    tick = run_growth_tick(world.loop(), now=world.now)
    assert tick.launches == ()
    assert "already started" in tick.messages["ada"]
    world.limits = replace(world.limits, automatic=False)
    assert run_growth_tick(world.loop(), now=world.now).messages == {}


def test_cooldown_and_budget_hold_an_alarm_open(world: LoopWorld) -> None:
    with_new_posts(world).good("ada", 200)
    request_retraining(world.state, "ada", asked_by="m", reason="r", now=world.now.timestamp())
    world.launch(run_request_tick(world.loop(), now=world.now).launches)
    world.tick()  # what that run used is stored
    world.inputs.datasets["ada"] = "posts-3"  # or the alarm has nothing to learn from
    world.bad("ada", 40)
    world.limits = replace(world.limits, cooldown_days=1.0)
    assert "cooldown, 24 hours left" in world.tick().messages["ada"]
    world.limits = replace(world.limits, cooldown_days=0.0, runs_a_month=1)

    tick = world.tick()

    assert tick.launches == ()
    assert "budget reached: 1 of 1 runs" in tick.messages["ada"]
    assert queued_notices(world.state, author="ada")[0].event == "budget_reached"
    world.limits = replace(world.limits, runs_a_month=2)
    assert [launch.run_key for launch in world.tick().launches] == ["quality:ada:v1:thumbs:1"]


@pytest.mark.parametrize("authors", [("ada", "bob"), ("ada", "bob", "cleo")])
def test_alarms_of_three_authors_within_two_days_are_one_incident(
    world: LoopWorld, authors: tuple[str, ...]
) -> None:
    """Alarms of two authors are no incident. Those of an incident wait two weeks."""
    for author in authors[2:]:
        write_author(world.settings, Author(author, author.title()))
        world.release(author, f"{author}-1")
    for author in authors:
        with_new_posts(world, author).good(author, 200)
    world.tick()
    for author in authors:
        world.bad(author, 60)

    tick = world.tick()

    notices = [notice for notice in queued_notices(world.state) if notice.event == "incident"]
    if len(authors) == 2:
        assert sorted(launch.author for launch in tick.launches) == ["ada", "bob"]
        assert notices == []
        return
    assert tick.launches == ()
    assert all("one incident" in tick.messages[author] for author in authors)
    assert len(notices) == 1
    assert "ada, bob, cleo" in notices[0].text
    assert sorted(launched.author for launched in world.tick(days=15).launches) == sorted(authors)


def test_a_new_version_is_held_to_the_floor_of_the_one_before(world: LoopWorld) -> None:
    world.good("ada", 700)
    world.tick()
    world.release("ada", "ada-2")
    with_new_posts(world).settle("ada", [1.0], version="v2")
    world.tick(days=31)  # a version of the last month would go back to v1
    world.bad("ada", 40, version="v2")

    [launch] = world.tick().launches

    assert launch.run_key == "quality:ada:v2:thumbs:1"


def test_a_forced_version_is_no_standard_for_a_later_one(world: LoopWorld) -> None:
    world.good("ada", 200)
    world.release("ada", "broken", force=True)
    world.settle("ada", [0.3] * 700, version="v2")
    world.tick()
    assert evidence_of(world).held_to["short"] == pytest.approx(0.77, abs=0.01), "v1's, not .3"
    world.release("ada", "ada-3")
    world.good("ada", 40, version="v3")

    world.tick()

    evidence = evidence_of(world)
    assert evidence.version == "v3"
    assert evidence.held_to["short"] == pytest.approx(0.77, abs=0.01)


def test_a_forced_first_version_is_watched_and_is_no_standard(world: LoopWorld) -> None:
    write_author(world.settings, Author("cleo", "Cleo"))
    world.release("cleo", "broken", force=True)
    with_new_posts(world, "cleo").good("cleo", 200)
    assert world.tick().launches == ()
    world.bad("cleo", 40)

    [launch] = world.tick().launches

    assert launch.run_key == "quality:cleo:v1:thumbs:1"
    world.release("cleo", "cleo-2")
    world.settle("cleo", [1.0], version="v2")
    world.tick()
    assert not evidence_of(world, "cleo").is_armed


def evidence_of(world: LoopWorld, author: str = "ada") -> StreamEvidence:
    with world.state.read_transaction() as connection:
        [evidence] = current_evidence(connection)[author]
    return evidence


def test_a_home_of_before_goes_on_and_loses_no_alarm(world: LoopWorld) -> None:
    """An earlier detector's rows are computed again; an alarm that it raised stays open."""
    with_new_posts(world).good("ada", 200)
    world.bad("ada", 47)
    world.queue(world.tick().launches)
    world.good("ada", 30)
    world.tick()
    with world.state.transaction() as connection:
        before = alarm_records.list_alarms(connection, "ada")
        [evidence] = current_evidence(connection)["ada"]
        row = sa.update(watches).where(watches.c.author == "ada")
        connection.execute(row.values(watch='{"floor": {}, "baseline": null, "detector": {}}'))
        assert current_evidence(connection) == {}

    ticks = [world.tick() for _ in range(4)]

    assert [tick.launches for tick in ticks] == [()] * 4
    with world.state.read_transaction() as connection:
        assert alarm_records.list_alarms(connection, "ada") == before
    assert evidence_of(world) == evidence


def test_a_day_is_the_unit_and_a_day_alone_arms_nothing(world: LoopWorld) -> None:
    world.rules = replace(world.rules, groups_by_day=True)
    world.good("ada", 400)
    world.tick()
    assert (evidence_of(world).seen, evidence_of(world).is_armed) == (400, False)


def test_whatever_the_ticks_are_the_alarms_are_the_same(world: LoopWorld) -> None:
    """The same days, examined each day or all at once."""
    world.rules = replace(world.rules, groups_by_day=True)
    world.limits = replace(world.limits, automatic=False)
    today = int(world.now.timestamp()) // 86_400
    for author in ("ada", "bob"):
        for day in range(40):
            (world.good if day < 30 else world.bad)(author, 20, day=today - 60 + day)
            if author == "ada":
                world.tick()
    world.tick()
    with world.state.read_transaction() as connection:
        ada, bob = (alarm_records.list_alarms(connection, author) for author in ("ada", "bob"))
    [a], [b] = ([replace(row.alarm, author="", threshold=0.0) for row in own] for own in (ada, bob))
    assert replace(a, sequence=0, e_value=0, bets=0) == replace(b, sequence=0, e_value=0, bets=0)


def test_an_alarm_that_led_to_no_release_makes_the_past_history(world: LoopWorld) -> None:
    """A viral beginning, or readers who changed: gate or trial found nothing better, so the version
    is held to what is said from then on, and a further fall is seen."""
    with_new_posts(world).good("ada", 200)
    world.settle("ada", [1.0, 0.0] * 20)
    [first] = world.tick().launches
    world.launch([first])
    world.judge("ada", "ada-1", "failed")
    world.tick()
    world.settle("ada", [1.0, 0.0] * 200)
    assert world.tick().launches == ()
    assert evidence_of(world).held_to["short"] == pytest.approx(0.47, abs=0.01)
    world.inputs.datasets["ada"] = "posts-3"
    world.settle("ada", [0.0] * 40)
    assert world.tick(days=8).launches != (), "after the wait of seven days"


def test_another_tolerance_is_in_force_with_the_next_values(world: LoopWorld) -> None:
    world.good("ada", 700)
    world.tick()
    world.rules = replace(world.rules, tolerance=0.2)
    world.good("ada", 10)

    world.tick()

    assert evidence_of(world).held_to["short"] == pytest.approx(0.6, abs=0.01)


def test_a_lowered_floor_makes_the_past_history(world: LoopWorld) -> None:
    """With harsher readers an open alarm is closed and the stable version is certified again."""
    world.limits = replace(world.limits, automatic=False)
    with_new_posts(world).good("ada", 200)
    world.bad("ada", 47)
    assert "--auto-retrain" in world.tick().messages["ada"]
    with world.state.transaction() as connection:
        floor = lower_floor(connection, "ada", asked_by="eve", reason="a class reads it", at=1.0)
    assert floor == (247, 1)
    world.limits = replace(world.limits, automatic=True)

    assert world.tick().launches == ()
    world.bad("ada", 200)
    assert world.tick().launches == ()

    with world.state.read_transaction() as connection:
        [record] = alarm_records.list_alarms(connection, "ada")
    assert (record.is_open, record.decided_by) == (False, "lowered_floor")
    assert evidence_of(world).seen == 200
    assert evidence_of(world).held_to["short"] == pytest.approx(0.17, abs=0.01)
    world.release("ada", "ada-2")
    world.settle("ada", [1.0] * 30, version="v2")
    world.tick()
    assert evidence_of(world).held_to["short"] < 0.2  # not of what v1 was before


def test_a_lowered_floor_is_in_force_for_a_version_that_comes_back(world: LoopWorld) -> None:
    """After a rollback, v1 is certified again by the readers of today."""
    world.good("ada", 700)
    world.tick()
    world.release("ada", "ada-2")
    world.good("ada", 20, version="v2")  # it has not fallen: nothing goes back by itself
    world.tick()
    with world.state.transaction() as connection:
        lower_floor(connection, "ada", asked_by="eve", reason="a class reads it", at=1.0)
    world.registry.rollback("ada", actor="eve", reason="back")

    world.settle("ada", [0.0, 1.0] * 200)
    world.tick()

    with world.state.read_transaction() as connection:
        alarmed = {record.alarm.version for record in alarm_records.list_alarms(connection, "ada")}
        assert "v1" not in alarmed
        [evidence] = current_evidence(connection)["ada"]
    assert (evidence.version, evidence.seen) == ("v1", 400)
    assert evidence.held_to["short"] < 0.5


def test_one_authors_wrong_settings_hold_up_no_others_growth(world: LoopWorld) -> None:
    def limits(author: str) -> RetrainingLimits:
        if author == "ada":
            raise TwinError("read ada's settings", found="no TOML", next_step="mend it")
        return world.limits

    world.inputs.came = {slug: CorpusGrowth(new_posts=25, new_pairs=0) for slug in ("ada", "bob")}

    tick = run_growth_tick(replace(world.loop(), limits=limits), now=world.now)

    assert [launch.author for launch in tick.launches] == ["bob"]
    assert "Found: no TOML" in tick.messages["ada"]
