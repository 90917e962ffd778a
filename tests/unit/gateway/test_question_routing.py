"""Test the routing of questions to `twin/<author>` by a fitted policy, and what is recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.unit.gateway import exchanges
from tests.unit.gateway.exchanges import (
    PASSAGE,
    SERVER,
    FakeRetrieval,
    FakeRetriever,
    create_path,
    served_version,
)
from tests.unit.gateway.routing.labeled_questions import PAID, fitted_policy, sample_questions
from twin_resources.authors import Author, write_author
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.exchange.exchange import RequestRecord
from twin_resources.gateway.request_path import RequestPath
from twin_resources.gateway.routing.question_routing import QuestionRouter
from twin_resources.registry.policy import AuthorPolicy, Policy
from twin_resources.router.policy_file import RoutingPolicy, policy_path, write_routing_policy
from twin_resources.settings import Settings

HARD, EASY = np.eye(8)[0], np.eye(8)[1]
MARA = Author("mara", "Mara", answer="voice", consent="2026-01-01: by mail")


@pytest.fixture(scope="module")
def policy() -> RoutingPolicy:
    return fitted_policy(sample_questions(400, seed=0))


def create_routed_path(
    home: Settings, policy: RoutingPolicy, vector: Any, *, canary: float = 0.0
) -> RequestPath:
    """Return Mara's request path with a paid route.

    Args:
        canary: the canary's share of the requests.
    """
    weights = {"stable": 1.0 - canary, "canary": canary} if canary else {"stable": 1.0}
    canary_version = served_version(4, "new") if canary else None
    versions = AuthorPolicy(served_version(3, "checkpoint"), canary_version, weights=weights)
    return create_path(
        home,
        FakeRetriever(lambda: FakeRetrieval((replace(PASSAGE, cosine=0.5),), vector=vector)),
        author=MARA,
        options={
            "paid_problem": lambda _key, _author: "",
            "router": QuestionRouter(PAID.model, lambda _: None),
        },
        policy=Policy(authors={"mara": versions}),
        servers={name: replace(SERVER, alias=name) for name in ("base", "mara/v3", "mara/v4")},
        has_paid_route=True,
        routing={"mara": policy},
    )


async def prepare(path: RequestPath, model: str = "twin/mara", **fields: Any) -> RequestRecord:
    question = "Which oil do I take for a clock?"
    return await exchanges.prepare(path, question, model=model, **fields)


async def test_a_hard_question_is_routed_to_the_paid_model(
    home: Settings, policy: RoutingPolicy
) -> None:
    prepared = await prepare(create_routed_path(home, policy, HARD))
    assert (prepared.decision.server_key, prepared.decision.route) == ("paid", "routed:paid")
    assert prepared.degraded == ()
    prepared.begin()
    prepared.end(1000)
    metadata = prepared.trace_metadata()
    assert "threshold" in metadata["twin.routing"]
    assert float(metadata["twin.gain"]) > 0.3
    assert (metadata["twin.other"], metadata["twin.propensity"]) == ("own", "1")
    assert float(metadata["twin.other_usd"]) == pytest.approx(1000 * 0.2 * 0.1 / 1e6)


async def test_an_easy_question_is_kept_and_the_paid_price_is_recorded(
    home: Settings, policy: RoutingPolicy
) -> None:
    prepared = await prepare(create_routed_path(home, policy, EASY))
    assert prepared.decision.route == "stable"
    prepared.begin()
    prepared.end(1000)
    metadata = prepared.trace_metadata()
    assert metadata["twin.other"] == "paid"
    assert float(metadata["twin.other_usd"]) == pytest.approx(1000 * (0.8 * 2.0 + 0.2 * 8.0) / 1e6)


async def test_a_canary_gets_the_same_questions_as_the_stable_version(
    home: Settings, policy: RoutingPolicy
) -> None:
    for share in (0.01, 0.99):
        hard = await prepare(create_routed_path(home, policy, HARD, canary=share))
        assert hard.decision.route == "routed:paid"
        assert hard.decision.propensity == 1.0
    easy = await prepare(create_routed_path(home, policy, EASY, canary=0.99))
    assert (easy.decision.route, easy.decision.propensity) == ("canary", pytest.approx(0.99))


def test_an_unreadable_policy_file_keeps_the_last_valid_policy(
    home: Settings, policy: RoutingPolicy
) -> None:
    settings = home.model_copy(update={"paid_model": PAID.model, "paid_budget_per_day": 1.0})
    write_author(settings, MARA)
    live_config, path = LiveConfig(settings), policy_path(settings.home, "mara")
    live_config.refresh()
    assert live_config.current.routing == {}
    write_routing_policy(path, policy)
    assert live_config.refresh()
    assert live_config.current.routing["mara"].step == policy.step
    path.write_bytes(path.read_bytes()[:2000])
    assert live_config.refresh()
    assert live_config.current.routing["mara"].step == policy.step
    assert "its last valid content is used" in "".join(live_config.current.collect_problems("mara"))
    path.unlink()
    live_config.refresh()
    assert live_config.current.routing == {}
    without_paid_model = LiveConfig(home)
    write_routing_policy(path, policy)
    without_paid_model.refresh()
    assert without_paid_model.current.routing == {}
