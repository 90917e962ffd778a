"""Test that a certificate contains only hashes, and that a changed certificate is detected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.erasure_targets import post_target
from twin_resources.erasure.certificate import read_certificate, write_certificate
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import hash_parts
from twin_resources.erasure.manual_steps import list_manual_steps
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

ERASED_POST = post_target(
    "ada", "2019/the-walk.md", ids=["chunk-1"], checkpoints=frozenset({"c" * 64})
)


def write_test_certificate(home: Path) -> Path:
    return write_certificate(
        home, ERASED_POST, number=3, erased_counts={"tables": 4}, proved_stores=["tables"],
        manual_steps=[], asked_at=0.0, done_at=60.0,
    )  # fmt: skip


def test_a_certificate_has_hashes_instead_of_names(tmp_path: Path) -> None:
    path = write_test_certificate(tmp_path)
    assert "walk" not in path.read_text()
    document = read_certificate(path)
    assert (document["schema"], document["number"]) == (1, 3)
    assert document["subject"] == hash_parts("post", "ada", "2019/the-walk.md")
    assert hash_parts("chunk-1") in document["ids"]
    assert (document["places"], document["proved"]) == ({"tables": 4}, ["tables"])
    assert document["tainted"] == ["c" * 64]
    assert document["asked_at"] == "1970-01-01T00:00:00+00:00"
    assert document["done_at"] == "1970-01-01T00:01:00+00:00"


def test_a_changed_certificate_is_an_error(tmp_path: Path) -> None:
    path = write_test_certificate(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"places": {"tables": 0}}))
    with pytest.raises(TwinError, match="its content does not match its hash"):
        read_certificate(path)
    with pytest.raises(TwinError, match="read the certificate"):
        read_certificate(tmp_path / "none.json")


def test_the_manual_steps_depend_on_the_settings(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = Installation.for_settings(home)
    [backups, copies] = list_manual_steps(installation, ERASED_POST, asked_at=0.0)
    assert backups.what.startswith("backups")
    assert backups.deadline == "1970-01-31"
    assert "c" * 64 in copies.how
    monkeypatch.setenv("LANGFUSE_HOST", "https://langfuse.example")
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk")
    monkeypatch.setenv("TWIN_TABLES_URI", "s3://bucket/twin")
    from twin_resources.settings import load_settings

    remote = Installation(
        load_settings(), installation.state, installation.tables, installation.registry
    )
    steps = list_manual_steps(
        remote, ERASED_POST, asked_at=0.0, remaining_locations=["trace 1", "trace 2"]
    )
    assert any("2 traces and scores were still returned" in step.how for step in steps)
    assert any("s3://bucket/twin" in step.what for step in steps)
