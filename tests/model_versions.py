"""Build model versions and manifests with default field values for tests."""

from __future__ import annotations

from typing import Any

from twin_assets.checkpoints.manifest import Manifest
from twin_resources.registry.moves import ModelVersion, Verdict, VersionState
from twin_resources.registry.registry import Registry

GATE = "gate-test"


def register_version(
    registry: Registry, author: str, checkpoint: str, **overrides: Any
) -> ModelVersion:
    """Register a version with test defaults; `overrides` replaces its arguments."""
    values: dict[str, Any] = {
        "folder": "",
        "adapter_gguf": None,
        "base": "/base",
        "base_gguf": "/base.gguf",
        "template": "t",
        "dataset_version": "d",
    }
    return registry.register(author=author, checkpoint=checkpoint, **(values | overrides))


def register_passed_version(
    registry: Registry, author: str, checkpoint: str, state: VersionState, **overrides: Any
) -> ModelVersion:
    """Register a version that has passed the gate, and move it to a state."""
    version = register_version(registry, author, checkpoint, **overrides)
    registry.record_verdict(Verdict(author, checkpoint, GATE, "passed", (), "2026-01-01"))
    force = version.is_answer_model
    registry.move(
        author, version.version, state, actor="t", reason="t", force=force, gate_version=GATE
    )
    return version


def build_version(**overrides: Any) -> ModelVersion:
    """Return an unregistered version; `overrides` replaces default field values."""
    values: dict[str, Any] = {
        "author": "ada", "version": 1, "checkpoint": "c", "state": "stable", "tainted": False,
        "forced": False, "folder": "", "adapter_gguf": None, "base": "/base",
        "base_gguf": "/base.gguf", "template": "t", "dataset_version": "d",
        "created_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return ModelVersion(**(values | overrides))


def build_manifest(author: str, checkpoint: str, **overrides: Any) -> Manifest:
    """Return a manifest of one supervised step on a base model that does not exist."""
    values: dict[str, Any] = {
        "training": "t", "stage": "sft", "template": "t", "dataset": {"data_version": "d"},
        "base": {"name": "tiny", "revision": "r", "folder": "/base", "gguf": None}, "recipe": {},
        "launch": {}, "code": "c", "versions": {}, "tokens": 1, "epochs": 1.0, "steps": 1,
        "metrics": {}, "history": [], "created_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Manifest(author=author, checkpoint=checkpoint, **(values | overrides))
