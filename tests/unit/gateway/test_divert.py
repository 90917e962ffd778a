"""Diverted prompt classes: who answers them, what is logged, and when they come back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.unit.gateway.test_policy import Versions, policy
from tests.unit.registry.test_moves import version
from twin_resources.access.account import SpendingAccount
from twin_resources.access.keys import NO_LIMITS, Key
from twin_resources.access.paid_budget import PaidBudget
from twin_resources.access.spending_limits import SpendingLimit, SpendingLimits
from twin_resources.authors import Author
from twin_resources.gateway.found_passages import Passages
from twin_resources.gateway.live_config import LiveConfig
from twin_resources.gateway.request_body import ChatRequest, read_question
from twin_resources.gateway.request_path import RequestPath
from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.rules import choose, fallback_of
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.models.retrieval.retrieval import Passage
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.policy import Policy, build_policy, read_policy, write_policy
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

DAY = date(2026, 3, 1)
KEY = Key("0123456789abcdef", "reader", frozenset({"*"}), "all", limits=NO_LIMITS)
WHY, HOW, OTHER = "Why does brass age?", "How do I oil a clock?", "Clocks!"
MODEL = "openai/gpt-4o-mini"


def divert(stable: str = "v3", **classes: str) -> dict[str, Any]:
    return {"version": stable, "alarm": "quality:mara:v3:thumbs:1", "classes": classes}


def served(number: int, state: Any, **values: object) -> ModelVersion:
    return version(number, state, template=DEFAULT_TEMPLATE.hash, **values)


def diverting(*others: ModelVersion, stable: int = 3) -> Policy:
    """v3 fell: `explanation` goes to v2, `how_to` to the paid model."""
    versions = [served(2, "retired"), *others, served(stable, "stable")]
    of_all = Versions({"mara": versions}, frozenset(one.checkpoint for one in versions))
    table = {"divert": divert(explanation="v2", how_to="paid")}
    return build_policy(of_all, {"mara": table})


READY = ("base", "mara/v2", "mara/v3", "mara/v4")


def snapshot(chosen: Policy, *ready: str, paid: bool = True) -> Snapshot:
    servers = {name: Server("http://127.0.0.1:1/v1", name, "", ready=True) for name in ready}
    return Snapshot(
        {"mara": Author("mara", "Mara", answer="voice")}, chosen, servers, has_paid_route=paid
    )


def asked(question: str, model: str = "twin/mara") -> ChatRequest:
    return read_question({"model": model, "messages": [{"role": "user", "content": question}]})


def answered(now: Snapshot, question: str, **given: Any) -> RouteDecision:
    model = given.pop("model", "twin/mara")
    return choose(RouteRequest(asked(question, model), KEY, DAY, **given), now)


def test_the_policy_holds_the_older_version_and_is_read_as_it_was_written(tmp_path: Path) -> None:
    built = diverting()
    found = built.authors["mara"].divert
    assert found is not None
    assert found.places == {"explanation": "v2", "how_to": "paid"}
    assert {name: one.checkpoint for name, one in found.versions.items()} == {"v2": "hash2"}
    path = tmp_path / "policy.json"
    write_policy(path, built)
    assert read_policy(path) == built


def test_a_policy_of_an_earlier_release_diverts_nothing(tmp_path: Path) -> None:
    import json

    path = tmp_path / "policy.json"
    write_policy(path, policy(version(1, "stable")))
    document = json.loads(path.read_text())
    del document["authors"]["mara"]["divert"]
    path.write_text(json.dumps(document))
    assert read_policy(path).authors["mara"].divert is None


def test_it_lapses_when_another_version_is_stable() -> None:
    assert diverting(stable=4).authors["mara"].divert is None
    assert policy(version(2, "retired"), divert=divert(how_to="v2")).authors["mara"].divert is None
    later = snapshot(diverting(stable=4), *READY)
    assert answered(later, WHY).route == answered(later, HOW).route == "stable"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (WHY, ("mara/v2", "v2", "hash2", "divert:v2")),
        (HOW, ("paid", "paid", "", "divert:paid")),
        (OTHER, ("mara/v3", "v3", "hash3", "stable")),
    ],
)
def test_each_class_goes_to_its_place(question: str, expected: tuple[str, ...]) -> None:
    chosen = answered(snapshot(diverting(), *READY), question)
    found = (chosen.server_key, chosen.version, chosen.checkpoint, chosen.route)
    assert (found, chosen.propensity, chosen.degraded) == (expected, 1.0, ())


def test_a_canary_gets_nothing_of_a_diverted_class() -> None:
    trial = diverting(served(4, "canary"))
    routes: dict[str, set[str]] = {WHY: set(), OTHER: set()}
    for ready, question in (
        (READY, WHY),
        (("base", "mara/v3", "mara/v4"), WHY),
        (READY, OTHER),
    ):
        for number in range(100):
            reader = Key(f"{number:x}", "reader", frozenset({"*"}), "")
            chosen = choose(RouteRequest(asked(question), reader, DAY), snapshot(trial, *ready))
            routes[question].add(f"{chosen.route} {chosen.propensity:.1f}")
    assert routes == {WHY: {"divert:v2 1.0", "stable 1.0"}, OTHER: {"stable 0.9", "canary 0.1"}}


@pytest.mark.parametrize("alias", ["stable", "base", "paid"])
@pytest.mark.parametrize("question", [WHY, HOW])
def test_who_names_an_alias_gets_it(alias: str, question: str) -> None:
    now = snapshot(diverting(), *READY)
    chosen = answered(now, question, model=f"twin/mara@{alias}")
    assert chosen.route == f"alias:{alias}"


@pytest.mark.parametrize(
    ("question", "now", "given", "degraded"),
    [
        (WHY, snapshot(diverting(), "base", "mara/v3"), {}, "divert:v2 not ready"),
        (
            WHY,
            snapshot(policy(served(3, "stable"), divert=divert(explanation="v2")), *READY),
            {},
            "divert:v2, no longer served",
        ),
        (HOW, snapshot(diverting(), *READY, paid=False), {}, "divert:paid, no paid model"),
        (
            HOW,
            snapshot(diverting(), *READY),
            {"paid_problem": "budget used up"},
            "divert:paid, budget used up",
        ),
    ],
    ids=["server not ready", "not served", "no paid route", "no budget"],
)
def test_when_the_place_cannot_answer_stable_does_and_says_so(
    question: str, now: Snapshot, given: dict[str, str], degraded: str
) -> None:
    chosen = answered(now, question, **given)
    assert (chosen.version, chosen.route, chosen.propensity) == ("v3", "stable", 1.0)
    assert chosen.degraded == (f"{degraded}: answered by stable",)


def test_with_neither_ready_the_base_answers_and_both_are_told() -> None:
    chosen = answered(snapshot(diverting(), "base", paid=False), WHY)
    assert (chosen.version, chosen.route) == ("base", "base")
    assert chosen.degraded == (
        "divert:v2 not ready: answered by base",
        "stable not ready: answered by base",
    )


@pytest.mark.parametrize("state", ["refused", "rolled_back", "candidate", "retired"])
def test_a_version_that_is_not_fit_any_more_is_not_served(state: Any) -> None:
    older = served(2, state, tainted=state == "retired")
    found = policy(older, served(3, "stable"), divert=divert(explanation="v2")).authors["mara"]
    assert found.divert is not None
    assert found.divert.versions == {}


def test_stable_stands_by_for_who_answers_a_diverted_class() -> None:
    now = snapshot(diverting(), *READY)
    for question in (WHY, HOW):
        fallback = fallback_of(now, "mara", answered(now, question))
        assert fallback is not None
        assert (fallback.version, fallback.route) == ("v3", "stable")
    named = answered(now, HOW, model="twin/mara@paid")
    assert fallback_of(now, "mara", named) is None
    without = snapshot(diverting(), "base", "mara/v2")
    assert fallback_of(without, "mara", answered(without, WHY)) is None


class NothingFound:
    passages: Sequence[Passage] = ()
    nearest: Sequence[Passage] = ()
    reason = ""
    vector = None
    embedder = embedder_revision = ""

    def retrieve(self, author: str, question: str, *, token_budget: int) -> NothingFound:
        return self


def way_of(home: Settings) -> RequestPath:
    live = LiveConfig(home)
    live.current = snapshot(diverting(), *READY)
    opener: Any = NothingFound
    return RequestPath(live, Passages(opener), usd_per_hour=0.02)


async def test_the_record_names_the_route_and_has_stables_prompt_at_hand(home: Settings) -> None:
    answering = (await way_of(home).prepare(asked(WHY), KEY, today=DAY)).answering
    metadata = answering.trace_metadata()
    assert (metadata["twin.route"], metadata["twin.propensity"]) == ("divert:v2", "1")
    assert (metadata["twin.version"], metadata["twin.class"]) == ("v2", "explanation")
    assert answering.fallback is not None
    assert answering.fallback.chosen.version == "v3"
    assert answering.meter is not None
    answering.begin()
    answering.answered_by_fallback("divert:v2 failed: answered by stable")
    assert answering.twin_field()["version"] == "v3"
    assert answering.twin_field()["degraded"] == "divert:v2 failed: answered by stable"


def budget_of(state: State) -> PaidBudget:
    limits = SpendingLimits(purposes={"answer": SpendingLimit(usd_per_day=0.5)})
    return PaidBudget(SpendingAccount(state, limits), model=MODEL)


async def test_the_budget_is_asked_only_for_what_goes_to_the_paid_model(home: Settings) -> None:
    way = way_of(home)
    with closing(State.open(home.state_address)) as state:
        budget = budget_of(state)
        asked_of: list[tuple[str, str]] = []

        def problem(key: Key, author: str) -> str:
            asked_of.append((key.label, author))
            return budget.problem(key, author)

        way.paid_problem = problem
        for question in (WHY, OTHER):
            await way.prepare(asked(question), KEY, today=DAY)
        assert asked_of == []
        paid = (await way.prepare(asked(HOW), KEY, today=DAY)).answering
        assert (paid.chosen.route, paid.meter, paid.degraded) == ("divert:paid", None, ())
        spend(budget.account, 0.5)
        spent = (await way.prepare(asked(HOW), KEY, today=DAY)).answering
        assert (spent.chosen.route, spent.chosen.version) == ("stable", "v3")
        assert spent.degraded == ("divert:paid, budget used up: answered by stable",)
        assert asked_of == [("all", "mara")] * 2


async def test_a_budget_that_was_used_up_meanwhile_is_answered_by_others(home: Settings) -> None:
    found = (
        await way_of(home).prepare(asked(HOW), KEY, today=DAY, unpaid="budget used up")
    ).answering
    assert (found.chosen.route, found.chosen.version) == ("stable", "v3")
    assert found.degraded == ("divert:paid, budget used up: answered by stable",)


def spend(account: SpendingAccount, usd: float) -> None:
    account.settle(account.reserve(purpose="answer", author="", key="", most_usd=usd), usd)


async def test_a_budget_that_cannot_be_read_loses_no_answer(home: Settings) -> None:
    way = way_of(home)
    with closing(State.open(home.state_address)) as state:
        way.paid_problem = budget_of(state).problem
        with state.transaction() as connection:
            connection.execute(sa.text("DROP TABLE account_spending"))
        answering = (await way.prepare(asked(HOW), KEY, today=DAY)).answering
    assert answering.chosen.version == "v3"
    assert answering.degraded == (
        "divert:paid, budget unreadable (OperationalError): answered by stable",
    )


def test_a_new_stable_version_that_is_not_warm_yet_leaves_the_divert(home: Settings) -> None:
    """What answered before goes on as a whole until the new version's server is there."""
    live = LiveConfig(home)
    before = snapshot(diverting(), *READY)
    live.current = replace(before, servers={**before.servers})
    write_policy(home.policy_path, diverting(stable=5))
    home.servers_path.parent.mkdir(parents=True, exist_ok=True)
    home.servers_path.write_text(
        '{"schema": 1, "servers": {"mara/v3": {"url": "u", "alias": "a", "ready": true}}}',
        encoding="utf-8",
    )
    live.refresh()
    kept = live.current.policy_of("mara")
    assert kept is not None
    assert kept.stable is not None
    assert kept.stable.version == 3
    assert kept.divert is not None
