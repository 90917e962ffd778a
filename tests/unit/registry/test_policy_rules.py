"""Who answers beside the stable version, and what ends it: diverted classes, the anchor, shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateway.test_policy import policy
from tests.unit.registry.test_moves import version
from twin_resources.errors import TwinError
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.policy import (
    anchor_now,
    live_divert,
    may_be_anchor,
    read_policy,
    write_policy,
)

DIVERT = {"version": "v3", "classes": {"how_to": "v1", "opinion": "v2", "short": "paid"}}
OLD, WORSE, STABLE = version(1, "retired"), version(2, "refused"), version(3, "stable")


def test_a_divert_stands_while_the_version_that_fell_is_stable(tmp_path: Path) -> None:
    assert live_divert({"divert": DIVERT}, 3) == DIVERT
    for routing, stable in (({"divert": DIVERT}, 4), ({"divert": DIVERT}, None), ({}, 3)):
        assert live_divert(routing, stable) == {}
    assert live_divert({"divert": None}, 3) == {}

    built = policy(OLD, WORSE, STABLE, divert=DIVERT)
    found = built.authors["mara"].divert
    assert found is not None
    assert found.places == DIVERT["classes"]
    assert set(found.versions) == {"v1"}, "what was refused since is not let in"
    write_policy(tmp_path / "policy.json", built)
    assert read_policy(tmp_path / "policy.json") == built
    assert policy(OLD, STABLE).authors["mara"].divert is None
    tainted = policy(version(1, "retired", tainted=True), STABLE, divert=DIVERT).authors["mara"]
    assert tainted.divert is not None
    assert tainted.divert.versions == {}


@pytest.mark.parametrize(
    ("share", "weights"),
    [
        (0.25, {"stable": 0.75, "canary": 0.25}),
        (0.0, {"stable": 1.0, "canary": 0.0}),
        (1, {"stable": 0.0, "canary": 1.0}),
        (7, {"stable": 0.0, "canary": 1.0}),
        (-1, {"stable": 1.0, "canary": 0.0}),
    ],
)
def test_a_share_is_between_none_and_all(share: float, weights: dict[str, float]) -> None:
    trial = policy(OLD, STABLE, version(4, "canary"), canary_share=share)
    assert trial.authors["mara"].weights == weights


ENTRY = {"version": "v1", "stable": "v3", "share": 0.2}


def test_the_anchor_answers_its_share_beside_the_version_that_it_was_named_for() -> None:
    anchor, share = anchor_now([OLD, STABLE], {"anchor": ENTRY})
    assert (anchor, share) == (OLD, 0.2)
    author = policy(OLD, STABLE, anchor=ENTRY).authors["mara"]
    assert author.anchor is not None
    assert author.anchor.version == 1
    assert author.weights == {"stable": 0.8, "anchor": 0.2}
    assert anchor_now([OLD, STABLE], {"anchor": ENTRY | {"share": 3}}) == (OLD, 1.0)


@pytest.mark.parametrize(
    ("versions", "routing"),
    [
        ([OLD, STABLE], {}),
        ([OLD, STABLE], {"anchor": ENTRY | {"share": 0}}),
        ([OLD, STABLE], {"anchor": ENTRY | {"share": -1}}),
        ([OLD, STABLE], {"anchor": ENTRY | {"stable": "v2"}}),
        ([OLD, STABLE], {"anchor": ENTRY | {"version": "v2"}}),
        ([OLD, STABLE], {"anchor": ENTRY, "divert": DIVERT}),
        ([OLD, STABLE, version(4, "canary")], {"anchor": ENTRY}),
        ([OLD, STABLE, version(4, "shadow")], {"anchor": ENTRY}),
        ([OLD, version(3, "stable", tainted=True)], {"anchor": ENTRY}),
        ([OLD, version(3, "retired")], {"anchor": ENTRY}),
        ([version(1, "retired", forced=True), STABLE], {"anchor": ENTRY}),
    ],
)
def test_nobody_is_answered_by_an_anchor(
    versions: list[ModelVersion], routing: dict[str, Any]
) -> None:
    assert anchor_now(versions, routing) == (None, 0.0)


def test_who_may_be_an_anchor() -> None:
    assert may_be_anchor(OLD)
    for changes in (
        {"state": "stable"},
        {"tainted": True},
        {"forced": True},
        {"kind": "answer_model"},
        {"base_gguf": ""},
    ):
        assert not may_be_anchor(version(1, **{"state": "retired"} | changes)), changes  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": 1}',
        '{"schema": "x", "authors": {}}',
        '{"schema": 1, "authors": 3}',
    ],
)
def test_what_is_no_policy_is_said_with_what_writes_it_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "policy.json").write_text(text)
    with pytest.raises(TwinError, match="materialize `released_model`"):
        read_policy(tmp_path / "policy.json")
