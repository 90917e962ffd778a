"""Test the shares of a canary, and which versions send prompts to another machine."""

from __future__ import annotations

import pytest

from tests.unit.gateway.test_policy import create_policy
from tests.unit.registry.test_moves import make_version
from twin_resources.registry.moves import VersionKind
from twin_resources.registry.policy import ServedVersion

RETIRED, STABLE = make_version(1, "retired"), make_version(3, "stable")


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
def test_a_share_is_between_0_and_1(share: float, weights: dict[str, float]) -> None:
    policy = create_policy(RETIRED, STABLE, make_version(4, "canary"), canary_share=share)
    assert policy.authors["mara"].weights == weights


@pytest.mark.parametrize(
    ("base", "kind", "is_elsewhere", "provider"),
    [
        ("https://models.example/v1#large", "answer_model", True, "https://models.example/v1"),
        ("http://127.0.0.1:8080/v1#large", "answer_model", True, ""),
        ("a-folder", "answer_model", False, ""),
        ("https://models.example/v1#large", "tuned", False, ""),
    ],
)
def test_only_a_remote_address_counts_as_leaving_this_machine(
    base: str, kind: VersionKind, is_elsewhere: bool, provider: str
) -> None:
    version = ServedVersion(1, "c", "t", "", None, base, "", kind=kind)
    assert (version.is_elsewhere, version.provider) == (is_elsewhere, provider)
