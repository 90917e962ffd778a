"""Test how a policy is built, written and read."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.unit.registry.test_moves import make_version
from twin_resources.authors.answer_forms import ANSWER_FORMS, SentenceThreshold
from twin_resources.errors import TwinError
from twin_resources.registry.moves import GateClaim, ModelVersion, Verdict
from twin_resources.registry.policy import (
    Policy,
    PolicyMissingError,
    build_policy,
    policy_file_matches,
    read_policy,
    write_policy,
)
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import model_versions

GATE_VERSION = "gate-3"


def create_policy(
    *versions: ModelVersion,
    verdicts: Sequence[Verdict] = (),
    routing: Mapping[str, Mapping[str, object]] | None = None,
    **mara_routing: object,
) -> Policy:
    """Return the policy of a registry with these versions and verdicts."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(State.open(f"sqlite:///{folder}/state.sqlite")) as state,
    ):
        registry = Registry(state, policy_path=Path(folder) / "policy.json")
        with state.transaction() as connection:
            for version in versions:
                connection.execute(sa.insert(model_versions).values(**asdict(version)))
        for verdict in verdicts:
            registry.record_verdict(verdict)
        mara = {"mara": mara_routing} if mara_routing else {}
        return build_policy(registry, mara | dict(routing or {}))


def make_prose_verdict(author: str, *, passed: bool) -> Verdict:
    cut = SentenceThreshold("judge", 0.4)
    claim = GateClaim("says_what_the_posts_say", passed, 0.1, 0.2, "", blocks="voice", cut=cut)
    return Verdict(author, "hash1", GATE_VERSION, "passed", (claim,), "2026-01-02T00:00:00+00:00")


def test_the_newest_verdict_of_each_author_releases_prose(tmp_path: Path) -> None:
    """Both authors have the same checkpoint, as with one answer model."""
    built_policy = create_policy(
        make_version(1, "stable"),
        make_version(1, "stable", author="ada"),
        verdicts=[
            make_prose_verdict("mara", passed=False),
            make_prose_verdict("mara", passed=True),
            make_prose_verdict("ada", passed=False),
        ],
    )
    path = tmp_path / "policy.json"
    write_policy(path, built_policy)

    assert policy_file_matches(path, built_policy)
    mara, ada = (read_policy(path).authors[slug].stable for slug in ("mara", "ada"))
    assert mara is not None
    assert mara.prose.forms == ANSWER_FORMS
    assert mara.prose.cut == SentenceThreshold("judge", 0.4)
    assert ada is not None
    assert ada.prose.forms != ANSWER_FORMS


def test_the_stable_version_gets_all_requests() -> None:
    built_policy = create_policy(
        make_version(1, "retired"),
        make_version(2, "stable"),
        make_version(3, "refused"),
        verdicts=[make_prose_verdict("mara", passed=True)],
    )
    author = built_policy.authors["mara"]
    assert author.stable is not None
    assert (author.stable.version, author.stable.checkpoint) == (2, "hash2")
    assert author.canary is None
    assert author.weights == {"stable": 1.0}
    assert built_policy.gate_version == GATE_VERSION


def test_without_a_stable_version_nothing_is_served() -> None:
    author = create_policy(make_version(1, "candidate"), make_version(2, "canary")).authors["mara"]
    assert (author.stable, author.canary, author.weights) == (None, None, {})


def test_a_tainted_version_is_not_served() -> None:
    stable = make_version(1, "stable", tainted=True)
    assert create_policy(stable).authors["mara"].stable is None
    canary = make_version(2, "canary", tainted=True)
    assert create_policy(make_version(1, "stable"), canary).authors["mara"].canary is None


def test_an_author_with_only_a_routing_table_has_an_entry() -> None:
    built_policy = create_policy(routing={"jose": {"classes": {"code": "paid"}}})
    assert built_policy.authors["jose"].routing == {"classes": {"code": "paid"}}
    assert built_policy.authors["jose"].stable is None


def test_a_policy_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "policy.json"
    built_policy = create_policy(
        make_version(1, "stable"), make_version(2, "canary", adapter_gguf="/a.gguf")
    )
    write_policy(path, built_policy)
    assert read_policy(path) == built_policy
    assert [file.name for file in path.parent.iterdir()] == ["policy.json"]
    document = json.loads(path.read_text())
    assert document["schema"] == 1
    assert document["authors"]["mara"]["canary"]["adapter_gguf"] == "/a.gguf"


def test_the_time_of_writing_does_not_change_a_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    built_policy = create_policy(make_version(1, "stable"))
    assert not policy_file_matches(path, built_policy)
    write_policy(path, built_policy)
    assert policy_file_matches(path, replace(built_policy, written_at="2030-01-01T00:00:00+00:00"))
    assert not policy_file_matches(path, create_policy(make_version(2, "stable")))


def test_a_file_with_a_third_model_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    built_policy = create_policy(make_version(2, "stable"))
    write_policy(path, built_policy)
    document = json.loads(path.read_text())
    mara = document["authors"]["mara"]
    mara["larger"] = mara["stable"] | {"version": 1}
    path.write_text(json.dumps(document))
    assert read_policy(path) == built_policy


def test_missing_and_invalid_files_raise_different_errors(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    with pytest.raises(PolicyMissingError, match="no such file"):
        read_policy(path)
    for content in (
        *("", "{", "[]", "{}", '{"schema": 1}', '{"schema": "x", "authors": {}}'),
        *('{"schema": 1, "authors": 3}', '{"schema": 1, "authors": {"a": 3}}'),
    ):
        path.write_text(content)
        with pytest.raises(TwinError, match="materialize `released_model`") as excinfo:
            read_policy(path)
        assert not isinstance(excinfo.value, PolicyMissingError)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"schema": 2}))
    with pytest.raises(TwinError, match=r"schema version 2.*run the newer llm-twin"):
        read_policy(path)
