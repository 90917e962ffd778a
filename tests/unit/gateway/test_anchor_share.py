"""The anchor's share of the readers: who is in it, and what ends it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateway.test_policy import policy
from tests.unit.registry.test_moves import version
from twin_resources.access.keys import NO_LIMITS, Key
from twin_resources.authors import Author
from twin_resources.gateway.request_body import read_question
from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.rules import choose, fallback_of
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.models.serving.fleet import wanted_versions
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.policy import Policy, read_policy, write_policy

DAY = date(2026, 3, 1)
READERS = 2_000
RELEASED = version(2, "retired"), version(3, "stable")


def entry(share: float = 0.05, *, anchor: str = "v2", stable: str = "v3") -> dict[str, Any]:
    return {"version": anchor, "stable": stable, "share": share, "set": share, "day": 1, "why": ""}


def snapshot(chosen: Policy, *ready: str) -> Snapshot:
    ready = ready or ("base", "mara/v2", "mara/v3", "mara/v4")
    servers = {name: Server("http://127.0.0.1:1/v1", name, "", ready=True) for name in ready}
    return Snapshot({"mara": Author("mara", "Mara")}, chosen, servers)


def routes(now: Snapshot, *, day: date = DAY) -> list[RouteDecision]:
    body = {"model": "twin/mara", "messages": [{"role": "user", "content": "Why?"}]}
    return [
        choose(RouteRequest(read_question(body), reader(number), day), now)
        for number in range(READERS)
    ]


def reader(number: int) -> Key:
    return Key(f"{number:016x}", "reader", frozenset({"*"}), "", limits=NO_LIMITS)


def in_it(now: Snapshot, *, day: date = DAY) -> set[int]:
    return {number for number, one in enumerate(routes(now, day=day)) if one.route == "anchor"}


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_about_so_many_readers_are_answered_by_the_anchor(share: float) -> None:
    found = routes(snapshot(policy(*RELEASED, anchor=entry(share))))
    count = Counter((one.route, one.version, round(one.propensity, 9)) for one in found)
    assert set(count) == {("anchor", "v2", share), ("stable", "v3", round(1 - share, 9))}
    # Five standard deviations of a binomial of 2,000.
    spread = (share * (1 - share) / READERS) ** 0.5
    assert abs(count["anchor", "v2", share] / READERS - share) < 5 * spread


def test_a_reader_stays_in_it_from_day_to_day() -> None:
    now = snapshot(policy(*RELEASED, anchor=entry()))
    first = in_it(now)
    assert all(in_it(now, day=DAY + timedelta(days)) == first for days in (1, 2, 30))
    later = snapshot(policy(version(2, "retired"), version(5, "stable"), anchor=entry(stable="v5")))
    ready = {name: Server("", name, "", ready=True) for name in ("mara/v2", "mara/v5")}
    assert in_it(replace(later, servers=ready)) != first, "another pair of versions draws anew"


def test_a_larger_share_takes_others_besides() -> None:
    few, many = (in_it(snapshot(policy(*RELEASED, anchor=entry(share)))) for share in (0.05, 0.5))
    assert few < many


@pytest.mark.parametrize(
    "chosen",
    [
        policy(*RELEASED),
        policy(*RELEASED, anchor=entry(0.0)),
        policy(*RELEASED, anchor=entry(anchor="")),
        policy(*RELEASED, anchor=entry(stable="v4")),
        policy(*RELEASED, version(4, "canary"), anchor=entry()),
        policy(*RELEASED, version(4, "shadow"), anchor=entry()),
        policy(
            *RELEASED,
            anchor=entry(),
            divert={"version": "v3", "alarm": "a", "classes": {"how_to": "v2"}},
        ),
        *(
            policy(replace(version(2, "retired"), **facts), version(3, "stable"), anchor=entry())
            for facts in (
                {"tainted": True},
                {"forced": True},
                {"base_gguf": ""},
                {"state": "rolled_back"},
                {"kind": "answer_model"},
            )
        ),
        policy(version(2, "retired"), version(3, "stable", tainted=True), anchor=entry()),
    ],
)
def test_nobody_is_in_it_unless_all_holds(chosen: Policy) -> None:
    """No entry, none of this stable version, a trial, a diverted class, an unfit anchor."""
    assert in_it(snapshot(chosen)) == set()
    assert chosen.authors["mara"].anchor is None, "and no server runs for it"


def test_a_fitted_routing_policy_leaves_no_lot_between_versions() -> None:
    """Its labels know one own version."""
    now = snapshot(policy(*RELEASED, anchor=entry(0.5)))
    fitted: Any = {"mara": object()}
    found = routes(replace(now, routing=fitted))
    assert {(one.route, one.propensity) for one in found} == {("stable", 1.0)}


def test_while_its_server_is_not_ready_the_stable_version_answers() -> None:
    now = snapshot(policy(*RELEASED, anchor=entry(0.5)), "base", "mara/v3")
    found = {(one.route, one.version, one.propensity, one.degraded) for one in routes(now)}
    assert found == {
        ("stable", "v3", 1.0, ()),
        ("stable", "v3", 1.0, ("anchor not ready: answered by stable",)),
    }


def test_an_answer_of_it_that_fails_is_given_by_the_stable_version() -> None:
    now = snapshot(policy(*RELEASED, anchor=entry(0.5)))
    chosen = next(one for one in routes(now) if one.route == "anchor")
    instead = fallback_of(now, "mara", chosen)
    assert instead is not None
    assert instead.version == "v3"


def test_it_stands_in_for_nobody() -> None:
    now = snapshot(policy(*RELEASED, anchor=entry(0.05)), "base", "mara/v2")
    assert Counter(one.route for one in routes(now))["base"] > 0.9 * READERS


def test_its_server_runs_while_it_may_answer(tmp_path: Path) -> None:
    def kept(*versions: ModelVersion) -> set[str]:
        path = tmp_path / "policy.json"
        write_policy(path, policy(*versions, anchor=entry()))
        return set(wanted_versions(read_policy(path)))

    assert kept(*RELEASED) == {"mara/v2", "mara/v3"}
    assert kept(*RELEASED, version(4, "shadow")) == {"mara/v3"}
