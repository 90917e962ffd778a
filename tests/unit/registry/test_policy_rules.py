"""Who answers beside the stable version, and what ends it: diverted classes, shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.gateway.test_policy import policy
from tests.unit.registry.test_moves import version
from twin_resources.errors import TwinError
from twin_resources.registry.policy import (
    live_divert,
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
