"""Test which version answers: weights, substitutes, aliases, propensities and recorded routes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gateway.exchanges import read_chat
from tests.unit.gateway.recorded_routes import compute_outcomes, read_recorded_outcomes
from twin_resources.access.keys import NO_LIMITS, Key, KeyLimits
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import NO_VERSION_REASON, ProseRelease
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import (
    RouteDecision,
    arm_weights,
    choose_version,
    draw_for_reader,
)
from twin_resources.gateway.routing.model_names import (
    available_model_names,
    check_access,
    model_fields,
    model_names_for_key,
)
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion
from twin_resources.registry.route_names import DRAFT
from twin_resources.settings import Settings

DAY = date(2026, 3, 1)
KEY = Key("0123456789abcdef", "reader", frozenset({"*"}), "all", limits=NO_LIMITS)


def make_version(number: int) -> ServedVersion:
    return ServedVersion(number, f"checkpoint-{number}", f"template-{number}", "", None, "", "")


def make_policy(weights: dict[str, float] | None = None, *, canary: bool = True) -> Policy:
    return Policy(
        authors={
            "ann": AuthorPolicy(
                stable=make_version(3),
                canary=make_version(4) if canary else None,
                weights=weights or {"stable": 0.9, "canary": 0.1},
            )
        }
    )


def make_snapshot(*ready: str, policy: Policy | None = None, paid: bool = False) -> Snapshot:
    servers = {name: Server(f"http://{name}/v1", name, "", ready=True) for name in ready}
    authors = {slug: Author(slug, slug.title()) for slug in ("ann", "bob")}
    return Snapshot(authors, policy, servers, has_paid_route=paid)


def make_request(model: str = "twin/ann") -> ChatRequest:
    return read_chat({"model": model, "messages": [{"role": "user", "content": "Why?"}]})


def choose(
    snapshot: Snapshot, chat_request: ChatRequest | None = None, key: Key = KEY
) -> RouteDecision:
    chat_request = chat_request or make_request()
    check_access(snapshot, chat_request, key)
    return choose_version(snapshot, chat_request, key, DAY)


def draw(weights: dict[str, float], *, reader: str = "r", day: int = 1, canary: int = 4) -> str:
    versions = AuthorPolicy(make_version(3), make_version(canary), weights)
    snapshot = make_snapshot(policy=Policy(authors={"ann": versions}))
    return draw_for_reader(snapshot, "ann", reader, date(2026, 3, day))[0]


ALL_SERVERS = ("base", "ann/v3", "ann/v4")


def test_the_split_changes_each_day_and_with_new_versions() -> None:
    weights = {"canary": 0.5, "stable": 0.5}
    by_day = {draw(weights, day=day) for day in range(1, 31)}
    by_version = {draw(weights, canary=number) for number in range(4, 34)}
    assert by_day == by_version == {"canary", "stable"}


@settings(deadline=None)  # The first example is slow because of imports.
@given(st.floats(0.05, 0.95))
def test_readers_are_split_by_the_weights(share: float) -> None:
    weights = {"canary": share, "stable": 1 - share}
    counts = Counter(draw(weights, reader=f"{number:x}") for number in range(2000))
    # Five standard deviations of a binomial count: exceeded about once in a million runs.
    assert abs(counts["canary"] / 2000 - share) < 5 * (share * (1 - share) / 2000) ** 0.5 + 1e-9


@pytest.mark.parametrize(
    "request_fields", [{"alias": DRAFT}, {"response_format": {"type": "json_object"}}]
)
def test_drafts_and_json_are_refused_if_no_server_is_ready(request_fields: dict[str, Any]) -> None:
    with pytest.raises(RefusedError) as excinfo:
        choose(make_snapshot(policy=make_policy()), replace(make_request(), **request_fields))
    assert excinfo.value.status == 503
    assert "twin status" in str(excinfo.value)


@pytest.mark.parametrize("model", ["twin/ann@canary", "twin/ann@paid", "twin/bob@stable"])
def test_the_refusal_of_an_unknown_alias_lists_the_known_ones(model: str) -> None:
    with pytest.raises(RefusedError) as excinfo:
        choose(make_snapshot(*ALL_SERVERS, policy=make_policy(canary=False)), make_request(model))
    assert excinfo.value.status == 404
    assert "@base" in str(excinfo.value)


def test_the_refusal_of_an_unknown_author_lists_the_known_ones() -> None:
    with pytest.raises(RefusedError) as excinfo:
        choose(make_snapshot("base"), make_request("twin/zoe"))
    assert excinfo.value.status == 404
    assert "twin/ann, twin/bob" in str(excinfo.value)


def test_a_key_is_valid_for_its_authors_only() -> None:
    reader = Key("r", "reader", frozenset({"ann"}), "")
    with pytest.raises(RefusedError) as excinfo:
        choose(make_snapshot("base"), make_request("twin/bob"), reader)
    assert excinfo.value.status == 403
    assert "use twin/ann; ask" in str(excinfo.value)
    assert model_names_for_key(make_snapshot("base"), reader) == [
        "twin/ann",
        "twin/ann@base",
        "twin/ann@voice",
    ]


def test_the_paid_alias_exists_only_with_a_paid_route() -> None:
    assert "twin/ann@paid" in available_model_names(make_snapshot(paid=True), "ann")
    assert "twin/ann@paid" not in available_model_names(make_snapshot(paid=False), "ann")
    unpaid = replace(make_snapshot(paid=True), authors={"ann": Author("ann", "Ann", paid=False)})
    assert "twin/ann@paid" not in available_model_names(unpaid, "ann")
    decision = choose(make_snapshot(paid=True), make_request("twin/ann@paid"))
    assert decision.server_key == "paid"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({}, {"stable": 1.0}),
        ({"stable": 3.0, "canary": 1.0}, {"canary": 0.25, "stable": 0.75}),
        ({"stable": 0.0, "canary": -1.0}, {"stable": 1.0}),
        ({"stable": 1.0, "other": 1.0}, {"stable": 1.0}),
    ],
)
def test_weights_are_scaled_to_the_arms_that_exist(
    weights: dict[str, float], expected: dict[str, float]
) -> None:
    assert arm_weights(AuthorPolicy(make_version(3), make_version(4), weights)) == expected


@pytest.mark.parametrize("is_released", [True, False])
def test_an_answer_in_voice_needs_a_version_released_for_it(is_released: bool) -> None:
    reason = "" if is_released else "92 % of sentences unsupported, limit 10 %"
    stable = replace(make_version(1), prose=ProseRelease(reason))
    policy = Policy(authors={"ann": AuthorPolicy(stable)})
    snapshot = make_snapshot("ann/v1", "base", policy=policy)
    snapshot = replace(snapshot, authors={"ann": Author("ann", "Ann", answer="voice")})

    default = choose(snapshot)
    named = choose(snapshot, make_request("twin/ann@stable"))
    base = choose(replace(snapshot, policy=None))

    assert default.prose_release == named.prose_release == stable.prose
    assert base.prose_release == ProseRelease(NO_VERSION_REASON)
    fields = model_fields(snapshot, "twin/ann")
    assert fields["version"] == "v1"
    assert fields["answer"] == ("voice" if is_released else "quote")
    assert fields["released_for"] == list(stable.prose.forms)
    assert fields["release"] == (
        f"quotations alone: {reason}" if reason else "quotations and prose"
    )
    draft = model_fields(snapshot, "twin/ann@voice")
    assert (draft["answer"], draft["version"]) == ("quote_and_voice", "v1")
    forced = replace(stable, prose=replace(stable.prose, forced=True))
    forced_snapshot = replace(snapshot, policy=Policy(authors={"ann": AuthorPolicy(forced)}))
    assert model_fields(forced_snapshot, "twin/ann")["answer"] == "voice", (
        "a person forced the release"
    )
    assert fields["kind"] == "tuned"
    assert model_fields(snapshot, "twin/ann@base")["answer"] == "voice"
    assert "kind" not in model_fields(snapshot, "twin/ann@base")
    policy = Policy(authors={"ann": AuthorPolicy(replace(stable, kind="answer_model"))})
    assert model_fields(replace(snapshot, policy=policy), "twin/ann")["kind"] == "answer_model"


def test_a_key_may_use_only_its_aliases() -> None:
    key = Key("r", "reader", frozenset({"ann"}), "")
    snapshot = make_snapshot(paid=True)
    assert "twin/ann@paid" not in model_names_for_key(snapshot, key)
    with pytest.raises(RefusedError) as excinfo:
        choose(snapshot, make_request("twin/ann@paid"), key)
    assert (excinfo.value.status, excinfo.value.code) == (403, "alias_not_allowed")
    assert "--alias @paid" in str(excinfo.value)
    only_paid = replace(key, limits=KeyLimits(frozenset({"paid"})))
    assert model_names_for_key(snapshot, only_paid) == ["twin/ann", "twin/ann@paid"]


def test_random_requests_get_their_recorded_routes(home: Settings) -> None:
    """`recorded_routes.py` explains how to record the routes after an intended change."""
    pairs = zip(compute_outcomes(home), read_recorded_outcomes(), strict=True)
    for number, (outcome, expected) in enumerate(pairs):
        assert outcome == expected, f"case {number}"
