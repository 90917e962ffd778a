"""Questions to `twin/<author>` where a policy has been fitted: who answers, and what is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from tests.unit.gateway.routing.labelled import PAID as PRICED
from tests.unit.gateway.routing.labelled import fitted_policy, sample_questions
from tests.unit.gateway.test_request_path import FOUND, Found, Retrieving
from twin_resources.access.keys import Key
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import ProseRelease
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.found_passages import PassageFinder
from twin_resources.gateway.request.request_body import read_question
from twin_resources.gateway.routing.question_routing import QuestionRouter
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.gateway.stages.request_path import RequestPath
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion
from twin_resources.registry.route_names import QUOTES
from twin_resources.router.pacing import RemainingBudget
from twin_resources.router.policy_file import (
    PricedModel,
    RoutingPolicy,
    policy_path,
    write_routing_policy,
)
from twin_resources.settings import Settings

DAY = date(2026, 3, 1)
KEY = Key("0123456789abcdef", "reader", frozenset({"*"}), "all")
HARD, EASY = np.eye(8)[0], np.eye(8)[1]
MARA = Author("mara", "Mara", answer="voice", consent="2026-01-01: by mail")


@pytest.fixture(scope="module")
def policy() -> RoutingPolicy:
    return fitted_policy(sample_questions(400, seed=0))


def served(number: int, checkpoint: str) -> ServedVersion:
    return ServedVersion(
        number, checkpoint, DEFAULT_TEMPLATE.hash, "", None, "", "", ProseRelease("")
    )


def way(
    home: Settings,
    policy: RoutingPolicy | None,
    vector: Any,
    *,
    author: Author = MARA,
    canary: float = 0.0,
    stable: str = "checkpoint",
    ready: tuple[str, ...] = ("base", "mara/v3", "mara/v4"),
    paid_problem: str = "",
    money: RemainingBudget | None = None,
) -> RequestPath:
    live = LiveConfig(home)
    weights = {"stable": 1.0 - canary, "canary": canary} if canary else {"stable": 1.0}
    arms = AuthorPolicy(served(3, stable), served(4, "new") if canary else None, weights=weights)
    live.current = Snapshot(
        {"mara": author},
        Policy(authors={"mara": arms}),
        {name: Server("http://127.0.0.1:1/v1", name, "", ready=True) for name in ready},
        has_paid_route=True,
        routing={"mara": policy} if policy else {},
    )
    found = Found((replace(FOUND, cosine=0.5),), vector=vector)
    retriever: Any = Retrieving(lambda: found)
    return RequestPath(
        live,
        PassageFinder(lambda: retriever),
        usd_per_hour=0.02,
        paid_problem=lambda _key, _author: paid_problem,
        router=QuestionRouter(PRICED.model, lambda _: money),
    )


async def prepare(path: RequestPath, model: str = "twin/mara", **fields: Any) -> RequestRecord:
    turns = [{"role": "user", "content": "Which oil do I take for a clock?"}]
    asked = read_question({"model": model, "messages": turns} | fields)
    return await path.prepare(asked, KEY, today=DAY)


async def test_a_hard_question_is_paid_for_and_says_why(
    home: Settings, policy: RoutingPolicy
) -> None:
    answering = await prepare(way(home, policy, HARD))
    assert (answering.decision.server_key, answering.decision.route) == ("paid", "routed:paid")
    assert answering.degraded == ()
    answering.cost.begin()
    answering.end(1000, paid_usd=0.002)
    told = answering.trace_metadata()
    assert "threshold" in told["twin.routing"]
    assert float(told["twin.gain"]) > 0.3
    assert (told["twin.other"], told["twin.propensity"]) == ("own", "1")
    assert float(told["twin.other_usd"]) == pytest.approx(1000 * 0.2 * 0.1 / 1e6)


async def test_an_easy_question_stays_and_tells_what_the_other_would_have_cost(
    home: Settings, policy: RoutingPolicy
) -> None:
    answering = await prepare(way(home, policy, EASY))
    assert answering.decision.route == "stable"
    answering.cost.begin()
    answering.end(1000)
    told = answering.trace_metadata()
    assert told["twin.other"] == "paid"
    assert float(told["twin.other_usd"]) == pytest.approx(1000 * (0.8 * 2.0 + 0.2 * 8.0) / 1e6)


async def test_if_the_paid_model_fails_the_stable_version_stands_by(
    home: Settings, policy: RoutingPolicy
) -> None:
    answering = await prepare(way(home, policy, HARD))
    assert answering.fallback is not None
    assert answering.fallback.decision.version == "v3"


async def test_a_canary_gets_the_same_questions_as_the_stable_version(
    home: Settings, policy: RoutingPolicy
) -> None:
    for share in (0.01, 0.99):
        hard = await prepare(way(home, policy, HARD, canary=share))
        assert hard.decision.route == "routed:paid"
        assert hard.decision.propensity == 1.0
    easy = await prepare(way(home, policy, EASY, canary=0.99))
    assert (easy.decision.route, easy.decision.propensity) == ("canary", pytest.approx(0.99))


@pytest.mark.parametrize(
    ("change", "fields", "why"),
    [
        ({"stable": "another"}, {}, "for another version"),
        ({"author": replace(MARA, paid=False)}, {}, "paid = false"),
        ({}, {"response_format": {"type": "json_object"}}, "JSON"),
    ],
    ids=["new version", "author forbids it", "JSON"],
)
async def test_where_the_policy_does_not_hold_nothing_is_routed_and_the_trace_says_so(
    home: Settings, policy: RoutingPolicy, change: dict[str, Any], fields: dict[str, Any], why: str
) -> None:
    answering = await prepare(way(home, policy, HARD, **change), **fields)
    assert (answering.decision.route, answering.decision.propensity) == ("stable", 1.0)
    assert answering.trace_metadata()["twin.routing"].startswith("not routed")
    assert why in answering.trace_metadata()["twin.routing"]


async def test_labels_of_another_embedder_or_paid_model_route_nothing(
    home: Settings, policy: RoutingPolicy
) -> None:
    for lapsed in (
        replace(policy, embedder="older"),
        replace(policy, models=(policy.models[0], replace(policy.models[1], model="other"))),
    ):
        answering = await prepare(way(home, lapsed, HARD))
        assert answering.decision.route == "stable"
        assert "not routed" in answering.trace_metadata()["twin.routing"]


async def test_without_a_policy_and_for_an_alias_all_is_as_before(
    home: Settings, policy: RoutingPolicy
) -> None:
    before = await prepare(way(home, None, HARD))
    assert (before.decision.route, before.exchange.decision.routing_note) == ("stable", None)
    named = await prepare(way(home, policy, HARD), "twin/mara@stable")
    assert (named.decision.route, named.exchange.decision.routing_note) == ("alias:stable", None)


async def test_a_used_up_budget_leaves_the_question_to_the_own_model(
    home: Settings, policy: RoutingPolicy
) -> None:
    path = way(home, policy, HARD, paid_problem="budget used up")
    answering = await prepare(path)
    assert (answering.decision.route, answering.decision.propensity) == ("stable", 1.0)
    assert "routed:paid, budget used up: answered by the author's model" in answering.degraded


async def test_where_money_forces_a_cheaper_step_the_answer_says_margin_not_held(
    home: Settings, policy: RoutingPolicy
) -> None:
    answering = await prepare(way(home, policy, HARD, money=RemainingBudget(0.0, 3600.0)))
    assert answering.decision.route == "stable"
    assert any("margin not held" in clause for clause in answering.degraded)
    rich = await prepare(way(home, policy, HARD, money=RemainingBudget(10.0, 3600.0)))
    assert rich.decision.route == "routed:paid"


async def test_a_version_that_is_down_falls_back_to_the_paid_model_and_says_so(
    home: Settings, policy: RoutingPolicy
) -> None:
    answering = await prepare(way(home, policy, HARD, ready=("base",)))
    assert answering.decision.route == "down:paid"
    assert "stable not ready: answered by paid" in answering.degraded
    forbidden = way(home, policy, HARD, ready=("base",), author=replace(MARA, paid=False))
    forbidden_too = (await prepare(forbidden)).decision
    assert (forbidden_too.server_key, forbidden_too.version) == ("base", "quotes")
    poor = way(home, policy, HARD, ready=("base",), paid_problem="budget used up")
    answering = await prepare(poor)
    assert answering.decision.server_key == "base"
    assert any("budget used up" in clause for clause in answering.degraded)
    nobody = way(home, policy, HARD, ready=(), paid_problem="budget used up")
    assert (await prepare(nobody)).decision.route == QUOTES


def test_a_policy_cut_in_half_leaves_the_last_good_one(
    home: Settings, policy: RoutingPolicy
) -> None:
    from twin_resources.authors import write_author

    settings = home.model_copy(update={"paid_model": PRICED.model, "paid_budget_per_day": 1.0})
    write_author(settings, MARA)
    live, path = LiveConfig(settings), policy_path(settings.home, "mara")
    live.refresh()
    assert live.current.routing == {}
    write_routing_policy(path, policy)
    assert live.refresh()
    assert live.current.routing["mara"].step == policy.step
    path.write_bytes(path.read_bytes()[:2000])
    assert live.refresh()
    assert live.current.routing["mara"].step == policy.step
    assert "the last valid one is used" in "".join(live.current.collect_problems("mara"))
    path.unlink()
    live.refresh()
    assert live.current.routing == {}
    unpaid = LiveConfig(home)
    write_routing_policy(path, policy)
    unpaid.refresh()
    assert unpaid.current.routing == {}


async def test_a_policy_of_three_models_of_an_earlier_release_lapses(
    home: Settings, policy: RoutingPolicy
) -> None:
    larger = PricedModel("larger", "large", 0.5, 0.5, 0.0002)
    three = replace(policy, models=(policy.models[0], larger, policy.models[1]))
    answering = await prepare(way(home, three, HARD))
    assert answering.decision.route == "stable"
    assert "compare three models" in answering.trace_metadata()["twin.routing"]
