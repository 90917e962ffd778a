"""The policy object: what is built, what is written, what a reader gets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.unit.registry.test_moves import version
from twin_resources.authors.answer_forms import (
    ANSWER_FORMS,
    QUOTE_ONLY,
    ProseRelease,
    SentenceThreshold,
)
from twin_resources.errors import TwinError
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.policy import (
    Policy,
    PolicyMissingError,
    build_policy,
    policy_file_matches,
    read_policy,
    write_policy,
)


@dataclass
class Versions:
    """Versions by author, as a policy asks for them."""

    held: dict[str, list[ModelVersion]] = field(default_factory=dict)
    for_voice: frozenset[str] = frozenset()

    def authors(self) -> list[str]:
        return sorted(self.held)

    def versions(self, author: str) -> Sequence[ModelVersion]:
        return self.held.get(author, [])

    def prose_release(self, item: ModelVersion) -> ProseRelease:
        released = ProseRelease("", SentenceThreshold("judge", 0.4))
        return released if item.checkpoint in self.for_voice else ProseRelease()

    def gate_version(self) -> str:
        return "gate-3"


def policy(*versions: ModelVersion, **routing: object) -> Policy:
    return build_policy(Versions({"mara": list(versions)}), {"mara": routing} if routing else {})


def test_the_forms_that_a_version_is_released_for_are_in_the_file(tmp_path: Path) -> None:
    mine = Versions({"mara": [version(1, "stable")], "ada": [version(1, "stable")]})
    mine.for_voice = frozenset({version(1, "stable").checkpoint})
    built = build_policy(mine, {})
    path = tmp_path / "policy.json"
    write_policy(path, built)

    assert policy_file_matches(path, built)
    read = read_policy(path).authors["mara"].stable
    assert read is not None
    assert read.prose.forms == ANSWER_FORMS
    assert read.prose.cut == SentenceThreshold("judge", 0.4)
    of_before = json.loads(path.read_text())
    del of_before["authors"]["mara"]["stable"]["prose"]
    path.write_text(json.dumps(of_before))
    read = read_policy(path).authors["mara"].stable
    assert read is not None
    assert read.prose.forms == QUOTE_ONLY


def test_the_stable_version_is_served_whole() -> None:
    built = policy(version(1, "retired"), version(2, "stable"), version(3, "refused"))
    author = built.authors["mara"]
    assert author.stable is not None
    assert (author.stable.version, author.stable.checkpoint) == (2, "hash2")
    assert author.canary is None
    assert author.weights == {"stable": 1.0}
    assert built.gate_version == "gate-3"


def test_without_a_stable_version_nothing_is_served() -> None:
    author = policy(version(1, "candidate"), version(2, "canary")).authors["mara"]
    assert (author.stable, author.canary, author.weights) == (None, None, {})


@pytest.mark.parametrize(("routing", "share"), [({}, 0.1), ({"canary_share": 0.25}, 0.25)])
def test_a_canary_gets_its_share(routing: dict[str, object], share: float) -> None:
    author = policy(version(1, "stable"), version(2, "canary"), **routing).authors["mara"]
    assert author.weights == {"stable": 1 - share, "canary": share}


def test_a_tainted_version_is_not_served() -> None:
    stable = version(1, "stable", tainted=True)
    assert policy(stable).authors["mara"].stable is None
    canary = version(2, "canary", tainted=True)
    assert policy(version(1, "stable"), canary).authors["mara"].canary is None


def test_an_author_with_a_routing_table_alone_has_an_entry() -> None:
    built = build_policy(Versions(), {"jose": {"classes": {"code": "paid"}}})
    assert built.authors["jose"].routing == {"classes": {"code": "paid"}}
    assert built.authors["jose"].stable is None


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "policy.json"
    built = policy(version(1, "stable"), version(2, "canary", adapter_gguf="/a.gguf"))
    write_policy(path, built)
    assert read_policy(path) == built
    assert [item.name for item in path.parent.iterdir()] == ["policy.json"]
    document = json.loads(path.read_text())
    assert document["schema"] == 1
    assert document["authors"]["mara"]["canary"]["adapter_gguf"] == "/a.gguf"


def test_the_same_policy_of_another_time_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    built = policy(version(1, "stable"))
    assert not policy_file_matches(path, built)
    write_policy(path, built)
    assert policy_file_matches(path, replace(built, written_at="2030-01-01T00:00:00+00:00"))
    assert not policy_file_matches(path, policy(version(2, "stable")))


def test_a_file_of_a_release_with_a_third_model_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    built = policy(version(2, "stable"))
    write_policy(path, built)
    of_before = json.loads(path.read_text())
    mara = of_before["authors"]["mara"]
    mara["larger"] = mara["stable"] | {"version": 1}
    path.write_text(json.dumps(of_before))
    assert read_policy(path) == built


def test_a_missing_file_is_told_from_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    with pytest.raises(PolicyMissingError, match="no such file"):
        read_policy(path)
    for broken in ("", "{", "[]", '{"schema": 1}', '{"schema": 1, "authors": {"a": 3}}'):
        path.write_text(broken)
        with pytest.raises(TwinError, match="materialize `released_model`") as caught:
            read_policy(path)
        assert not isinstance(caught.value, PolicyMissingError)


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"schema": 2}))
    with pytest.raises(TwinError, match=r"schema number 2.*run the newer llm-twin"):
        read_policy(path)


def test_reading_a_policy_loads_nothing_heavy() -> None:
    script = (
        "import sys, twin_resources.registry.policy\n"
        "heavy = {'sqlalchemy', 'polars', 'lance', 'dagster', 'pyarrow', 'litellm'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
