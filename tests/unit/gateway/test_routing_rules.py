"""Which version answers: weights, stickiness, substitutes, propensity; all of it as recorded."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recipes import of_recipe
from tests.unit.gateway.recorded_routes import outcomes, recorded
from twin_resources.access.keys import NO_LIMITS, Key, KeyLimits
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import NO_MODEL_REASON, NO_VERSION_REASON, ProseRelease
from twin_resources.gateway.request.request_body import ChatRequest, read_question
from twin_resources.gateway.routing import rules
from twin_resources.gateway.routing.decision import RouteRequest
from twin_resources.gateway.routing.model_names import (
    available_model_names,
    model_fields,
    model_names_for_key,
)
from twin_resources.gateway.routing.rules import choose_version
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.gateway.routing.traffic_split import arm_weights, draw_arm
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion
from twin_resources.registry.route_names import DRAFT, QUOTES
from twin_resources.settings import Settings

DAY = date(2026, 3, 1)
KEY = Key("0123456789abcdef", "reader", frozenset({"*"}), "all", limits=NO_LIMITS)


def version(number: int) -> ServedVersion:
    return ServedVersion(number, f"checkpoint-{number}", f"template-{number}", "", None, "", "")


def policy(weights: dict[str, float] | None = None, *, canary: bool = True) -> Policy:
    return Policy(
        authors={
            "ann": AuthorPolicy(
                stable=version(3),
                canary=version(4) if canary else None,
                weights=weights or {"stable": 0.9, "canary": 0.1},
            )
        }
    )


def snapshot(*ready: str, chosen: Policy | None = None, paid: bool = False) -> Snapshot:
    servers = {name: Server(f"http://{name}/v1", name, "", ready=True) for name in ready}
    authors = {slug: Author(slug, slug.title()) for slug in ("ann", "bob")}
    return Snapshot(authors, chosen, servers, has_paid_route=paid)


def asked(model: str = "twin/ann") -> ChatRequest:
    return read_question({"model": model, "messages": [{"role": "user", "content": "Why?"}]})


ALL = ("base", "ann/v3", "ann/v4")


def test_before_a_model_is_stable_the_base_answers() -> None:
    for given_policy in (None, Policy(), Policy(authors={"ann": AuthorPolicy()})):
        chosen = choose_version(
            RouteRequest(asked(), KEY, DAY), snapshot("base", chosen=given_policy)
        )
        assert (chosen.version, chosen.route, chosen.propensity) == ("base", "base", 1.0)
        assert chosen.template == chosen.checkpoint == ""
        assert chosen.degraded == ()


def test_a_reader_keeps_the_version_for_a_day() -> None:
    now = snapshot(*ALL, chosen=policy({"stable": 0.5, "canary": 0.5}))
    first = choose_version(RouteRequest(asked(), KEY, DAY), now)
    assert all(choose_version(RouteRequest(asked(), KEY, DAY), now) == first for _ in range(5))


def test_a_draw_is_made_anew_each_day_and_for_new_versions() -> None:
    weights = {"canary": 0.5, "stable": 0.5}
    by_day = {
        draw_arm(weights, reader="r", day=date(2026, 3, day), versions="3|4")
        for day in range(1, 31)
    }
    by_version = {
        draw_arm(weights, reader="r", day=DAY, versions=f"3|{number}") for number in range(30)
    }
    assert by_day == by_version == {"canary", "stable"}


@settings(deadline=None)  # the first example pays for imports
@given(st.floats(0.05, 0.95))
def test_readers_spread_by_the_weights(share: float) -> None:
    weights = {"canary": share, "stable": 1 - share}
    count = Counter(
        draw_arm(weights, reader=f"{number:x}", day=DAY, versions="3|4") for number in range(2000)
    )
    # Five standard deviations of a binomial of 2,000: wrong once in a million draws of `share`.
    assert abs(count["canary"] / 2000 - share) < 5 * (share * (1 - share) / 2000) ** 0.5 + 1e-9


def test_the_propensity_is_the_drawn_arms_weight() -> None:
    now = snapshot(*ALL, chosen=policy())
    for number in range(200):
        reader = Key(f"{number:x}", "reader", frozenset({"*"}), "")
        chosen = choose_version(RouteRequest(asked(), reader, DAY), now)
        expected = {"stable": ("v3", 0.9), "canary": ("v4", 0.1)}[chosen.route]
        assert (chosen.version, chosen.propensity) == (expected[0], pytest.approx(expected[1]))
        assert chosen.server_key == f"ann/{chosen.version}"
        assert chosen.template == f"template-{chosen.version[1:]}"


def test_who_stands_in_carries_the_propensity_of_both() -> None:
    now = snapshot("base", "ann/v3", chosen=policy({"stable": 0.6, "canary": 0.4}))
    chosen = {
        choose_version(
            RouteRequest(asked(), Key(f"{number:x}", "reader", frozenset({"*"}), ""), DAY), now
        )
        for number in range(100)
    }
    assert {one.version for one in chosen} == {"v3"}
    assert {round(one.propensity, 9) for one in chosen} == {1.0}
    assert ("canary not ready: answered by stable",) in {one.degraded for one in chosen}


def test_the_canary_stands_in_for_nobody() -> None:
    now = snapshot("base", "ann/v4", chosen=policy({"stable": 1.0}))
    chosen = choose_version(RouteRequest(asked(), KEY, DAY), now)
    assert (chosen.version, chosen.route) == ("base", "base")
    assert chosen.degraded == ("stable not ready: answered by base",)


def test_with_no_server_ready_the_posts_are_quoted() -> None:
    chosen = choose_version(RouteRequest(asked(), KEY, DAY), snapshot(chosen=policy()))
    assert (chosen.version, chosen.route, chosen.server_key) == (QUOTES, QUOTES, QUOTES)
    assert (chosen.prose_release.why_not, chosen.degraded) == (NO_MODEL_REASON, (NO_MODEL_REASON,))


@pytest.mark.parametrize(
    "needs_one", [{"alias": DRAFT}, {"response_format": {"type": "json_object"}}]
)
def test_with_no_server_ready_a_draft_and_json_are_told_what_to_do(
    needs_one: dict[str, Any],
) -> None:
    with pytest.raises(RefusedError) as caught:
        choose_version(
            RouteRequest(replace(asked(), **needs_one), KEY, DAY), snapshot(chosen=policy())
        )
    assert caught.value.status == 503
    assert "twin status" in caught.value.next_step


def test_an_alias_is_served_by_name_or_not_at_all() -> None:
    now = snapshot(*ALL, chosen=policy())
    chosen = choose_version(RouteRequest(asked("twin/ann@canary"), KEY, DAY), now)
    assert (chosen.version, chosen.route, chosen.propensity) == ("v4", "alias:canary", 1.0)
    with pytest.raises(RefusedError) as caught:
        choose_version(
            RouteRequest(asked("twin/ann@stable"), KEY, DAY), snapshot("base", chosen=policy())
        )
    assert caught.value.status == 503


@pytest.mark.parametrize("model", ["twin/ann@canary", "twin/ann@paid", "twin/bob@stable"])
def test_an_alias_that_does_not_exist_lists_those_that_do(model: str) -> None:
    with pytest.raises(RefusedError) as caught:
        choose_version(
            RouteRequest(asked(model), KEY, DAY), snapshot(*ALL, chosen=policy(canary=False))
        )
    assert caught.value.status == 404
    assert "@base" in caught.value.found


def test_an_unknown_author_is_answered_with_what_exists() -> None:
    with pytest.raises(RefusedError) as caught:
        choose_version(RouteRequest(asked("twin/zoe"), KEY, DAY), snapshot("base"))
    assert caught.value.status == 404
    assert "twin/ann, twin/bob" in caught.value.found


def test_a_key_reaches_its_authors_only() -> None:
    reader = Key("r", "reader", frozenset({"ann"}), "")
    with pytest.raises(RefusedError) as caught:
        choose_version(RouteRequest(asked("twin/bob"), reader, DAY), snapshot("base"))
    assert caught.value.status == 403
    assert "bob" not in caught.value.found
    assert model_names_for_key(snapshot("base"), reader) == [
        "twin/ann",
        "twin/ann@base",
        "twin/ann@voice",
    ]


def test_the_paid_alias_exists_only_with_a_paid_route() -> None:
    assert "twin/ann@paid" in available_model_names(snapshot(paid=True), "ann")
    assert "twin/ann@paid" not in available_model_names(snapshot(paid=False), "ann")
    kept = replace(snapshot(paid=True), authors={"ann": Author("ann", "Ann", paid=False)})
    assert "twin/ann@paid" not in available_model_names(kept, "ann")  # the author's file says no
    chosen = choose_version(RouteRequest(asked("twin/ann@paid"), KEY, DAY), snapshot(paid=True))
    assert chosen.server_key == "paid"


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
    assert arm_weights(AuthorPolicy(version(3), version(4), weights)) == expected


@pytest.mark.parametrize("released", [True, False])
def test_an_answer_in_voice_needs_a_version_released_for_it(released: bool) -> None:
    why = "" if released else "92 % of sentences unsupported, limit 20 %"
    stable = replace(version(1), prose=ProseRelease(why))
    found = snapshot("ann/v1", "base", chosen=Policy(authors={"ann": AuthorPolicy(stable)}))
    found = replace(found, authors={"ann": Author("ann", "Ann", answer="voice")})

    drawn = choose_version(RouteRequest(asked(), KEY, DAY), found)
    named = choose_version(RouteRequest(asked("twin/ann@stable"), KEY, DAY), found)
    base = choose_version(RouteRequest(asked(), KEY, DAY), replace(found, policy=None))

    assert drawn.prose_release == named.prose_release == stable.prose
    assert base.prose_release == ProseRelease(NO_VERSION_REASON)
    told = model_fields(found, "twin/ann")
    assert told["version"] == "v1"
    assert told["answer"] == ("voice" if released else "quote")
    assert told["released_for"] == list(stable.prose.forms)
    assert told["release"] == (f"quotations alone: {why}" if why else "quotations and prose")
    draft = model_fields(found, "twin/ann@voice")
    assert (draft["answer"], draft["version"]) == ("quote_and_voice", "v1")
    forced = replace(stable, prose=replace(stable.prose, forced=True))
    by_force = replace(found, policy=Policy(authors={"ann": AuthorPolicy(forced)}))
    assert model_fields(by_force, "twin/ann")["answer"] == "voice", "a person has said so"
    assert told["kind"] == "tuned"
    assert model_fields(found, "twin/ann@base")["answer"] == "voice"
    assert "kind" not in model_fields(found, "twin/ann@base")
    named = Policy(authors={"ann": AuthorPolicy(replace(stable, kind="answer_model"))})
    assert model_fields(replace(found, policy=named), "twin/ann")["kind"] == "answer_model"


def test_a_key_names_the_aliases_it_was_given() -> None:
    key = Key("r", "reader", frozenset({"ann"}), "")
    now = snapshot(paid=True)
    assert "twin/ann@paid" not in model_names_for_key(now, key)
    with pytest.raises(RefusedError) as caught:
        choose_version(RouteRequest(asked("twin/ann@paid"), key, DAY), now)
    assert (caught.value.status, caught.value.code) == (403, "alias_not_allowed")
    assert "--alias @paid" in caught.value.next_step
    only_paid = replace(key, limits=KeyLimits(frozenset({"paid"})))
    assert model_names_for_key(now, only_paid) == ["twin/ann", "twin/ann@paid"]


def test_each_request_of_a_seeded_space_gets_the_route_that_was_recorded(home: Settings) -> None:
    """A change that is meant is recorded again: `recorded_routes.py` says how."""
    for number, (now, before) in enumerate(zip(outcomes(home), recorded(), strict=True)):
        assert now == before, f"case {number}"


def test_the_recipe_for_a_rule_adds_one(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of deploy/docs/contributing.md in a folder of its own, and its line in the tuple."""
    added = of_recipe("A routing rule", tmp_path / "batch_on_stable.py").batch_on_stable
    now = snapshot(*ALL, chosen=policy({"canary": 1.0}))
    batch = replace(asked(), is_batch=True)
    assert choose_version(RouteRequest(batch, KEY, DAY), now).route == "canary"
    alias, *others = rules.RULES
    monkeypatch.setattr(rules, "RULES", (alias, added, *others))

    assert choose_version(RouteRequest(batch, KEY, DAY), now).route == "batch:stable"
    named = replace(asked("twin/ann@canary"), is_batch=True)
    assert choose_version(RouteRequest(named, KEY, DAY), now).route == "alias:canary"
    later = replace(now, servers={})
    assert choose_version(RouteRequest(batch, KEY, DAY), later).route == QUOTES
    assert list(outcomes(home)) == recorded(), "no other request is touched"
