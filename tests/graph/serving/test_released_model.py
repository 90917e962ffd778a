"""Test that `released_model` requires the verdict of exactly this checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from rich.console import Console
from twin_cli.commands.outcome import OutcomeCode, consent_wait_reason, read_recorded_outcome
from twin_cli.commands.versions import release_consented_version, run_release

from tests.materialization import create_instance, materialize_assets, metadata_of
from tests.model_versions import register_version
from tests.unit.registry.comparison_claims import make_stable_claims
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.serving.released_model import released_model
from twin_resources.authors import Author, read_author, write_author
from twin_resources.errors import TwinError
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state


@pytest.fixture
def registry(home: Settings) -> Registry:
    for slug in ("ada", "bob"):
        write_author(home, Author(slug, slug.title(), consent="2020-01-01: the test's own author"))
    return Registry(open_home_state(home), policy_path=home.policy_path)


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return create_instance("ada", "bob")


def register_candidate(registry: Registry, author: str, checkpoint: str) -> None:
    register_version(
        registry,
        author,
        checkpoint,
        folder=f"/checkpoints/{checkpoint}",
        adapter_gguf=f"/checkpoints/{checkpoint}/adapter.gguf",
    )


def record_verdict(
    registry: Registry, author: str, checkpoint: str, outcome: Any, *, gate: str = GATE_VERSION
) -> None:
    is_met = {"passed": True, "failed": False, "not_decided": None}[outcome]
    claim = GateClaim("beats_base_model", is_met, 1.2, 1.0, "perplexity 24 against 20")
    claims = (claim, *make_stable_claims(registry, author))
    registry.record_verdict(Verdict(author, checkpoint, gate, outcome, claims, "2026-01-01"))


def materialize(instance: dg.DagsterInstance, author: str) -> dict[str, Any]:
    """Materialize for one author; return the metadata as plain values and the data version."""
    result = materialize_assets([released_model], author, instance)
    return metadata_of(result, "released_model")


def test_a_first_model_that_passed_becomes_stable(
    registry: Registry, instance: dg.DagsterInstance, home: Settings
) -> None:
    register_candidate(registry, "ada", "c1")
    record_verdict(registry, "ada", "c1", "passed")

    metadata = materialize(instance, "ada")

    assert metadata["stable"] == "v1"
    assert "candidate → stable" in metadata["moved"]
    assert metadata["data_version"] == "v1-c1"
    stable = read_policy(home.policy_path).authors["ada"].stable
    assert stable is not None
    assert stable.checkpoint == "c1"


def test_a_second_materialization_moves_nothing(
    registry: Registry, instance: dg.DagsterInstance
) -> None:
    register_candidate(registry, "ada", "c1")
    record_verdict(registry, "ada", "c1", "passed")
    first = materialize(instance, "ada")
    moves = registry.moves("ada")

    second = materialize(instance, "ada")

    assert second["moved"] == "nothing"
    assert "already released" in second["why"]
    assert second["data_version"] == first["data_version"]
    assert registry.moves("ada") == moves


def test_one_authors_pass_does_not_release_another_authors_failure(
    registry: Registry, instance: dg.DagsterInstance, home: Settings
) -> None:
    register_candidate(registry, "ada", "c1")
    register_candidate(registry, "bob", "c2")
    record_verdict(registry, "bob", "c2", "failed")
    record_verdict(registry, "ada", "c1", "passed")  # the newest verdict of all is a pass

    refused, released = materialize(instance, "bob"), materialize(instance, "ada")

    assert released["stable"] == "v1"
    assert refused["stable"].startswith("none")
    assert registry.versions("bob")[0].state == "refused"
    assert "perplexity 24 against 20" in refused["moved"]
    policy = read_policy(home.policy_path)
    assert policy.authors["bob"].stable is None


def test_a_predecessors_pass_does_not_release_a_checkpoint(
    registry: Registry, instance: dg.DagsterInstance
) -> None:
    register_candidate(registry, "ada", "c1")
    record_verdict(registry, "ada", "c1", "passed")
    materialize(instance, "ada")
    register_candidate(registry, "ada", "c2")

    metadata = materialize(instance, "ada")

    assert metadata["stable"] == "v1"
    assert "no verdict" in metadata["why"]
    assert registry.get("ada", 2).state == "candidate"


@pytest.mark.parametrize("outcome", ["failed", "not_decided"])
def test_a_failed_version_is_refused_and_released_only_by_hand(
    outcome: str, registry: Registry, instance: dg.DagsterInstance
) -> None:
    register_candidate(registry, "ada", "c1")
    record_verdict(registry, "ada", "c1", outcome)

    metadata = materialize(instance, "ada")

    assert metadata["data_version"] == "base"
    assert registry.get("ada", 1).state == "refused"
    registry.move("ada", 1, "stable", actor="person", reason="read 20 answers", force=True)
    metadata = materialize(instance, "ada")
    assert metadata["stable"] == "v1"
    assert registry.get("ada", 1).forced


def test_a_pass_of_another_gate_version_releases_nothing(
    registry: Registry, instance: dg.DagsterInstance
) -> None:
    register_candidate(registry, "ada", "c1")
    record_verdict(registry, "ada", "c1", "passed", gate="gate-0")

    metadata = materialize(instance, "ada")

    assert metadata["stable"].startswith("none")
    assert registry.get("ada", 1).state == "candidate"


def test_an_author_without_versions_gets_the_next_step(
    registry: Registry, instance: dg.DagsterInstance
) -> None:
    metadata = materialize(instance, "ada")

    assert metadata["data_version"] == "base"
    assert "preference_tuned_checkpoint" in metadata["why"]


def test_new_releases_require_the_authors_consent(
    registry: Registry, instance: dg.DagsterInstance, home: Settings
) -> None:
    register_candidate(registry, "ada", "c1")
    record_verdict(registry, "ada", "c1", "passed")
    author = read_author(home, "ada")
    write_author(home, replace(author, consent="she agreed, somebody said"))  # no date
    metadata = materialize(instance, "ada")
    assert metadata["moved"] == "nothing"
    assert "it has passed, but the author has not agreed" in metadata["why"]
    assert registry.get("ada", 1).state == "candidate"
    write_author(home, author)
    assert "v1: candidate → stable" in materialize(instance, "ada")["moved"]

    write_author(home, replace(author, consent=""))  # an older home, or withdrawn consent
    register_candidate(registry, "ada", "c2")
    record_verdict(registry, "ada", "c2", "passed")
    assert materialize(instance, "ada")["moved"] == "nothing"
    stable = registry.stable_version("ada")
    assert stable is not None
    assert stable.version == 1
    register_candidate(registry, "ada", "c3")
    record_verdict(registry, "ada", "c3", "failed")
    # a refusal needs no consent
    assert "v3: candidate → refused" in materialize(instance, "ada")["moved"]
    with pytest.raises(TwinError, match="no line `consent`"):
        run_release(home, "v3", author="ada", reason="I like it", console=Console())


def test_twin_up_releases_a_version_that_waited_only_for_consent(
    registry: Registry, home: Settings
) -> None:
    register_candidate(registry, "bob", "c1")
    record_verdict(registry, "bob", "c1", "passed")
    write_author(home, replace(read_author(home, "bob"), consent=""))
    verdict = registry.latest_verdict("bob")
    reason = consent_wait_reason(home, registry, "bob", verdict)
    assert reason.startswith("v1 has passed the gate and is waiting for the author's consent: no")
    result = read_recorded_outcome(home, "bob")
    assert result is not None
    assert (result.code, result.reasons) == (OutcomeCode.REFUSED, (reason,))
    [move] = release_consented_version(home, "bob")
    assert (move.version, move.to_state) == (1, "stable")
    assert release_consented_version(home, "bob") == []
    assert consent_wait_reason(home, registry, "bob", verdict) == ""
