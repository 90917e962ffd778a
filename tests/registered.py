"""A model version and its manifest with default values, for tests that need only some of them."""

from __future__ import annotations

from typing import Any

from twin_assets.checkpoints.manifest import Manifest
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.registry import Registry


def register_version(
    registry: Registry, author: str, checkpoint: str, **others: Any
) -> ModelVersion:
    """Register a version; `others` replace the default arguments of `Registry.register`."""
    values: dict[str, Any] = {
        "folder": "",
        "adapter_gguf": None,
        "base": "/base",
        "base_gguf": "/base.gguf",
        "template": "t",
        "dataset_version": "d",
    }
    return registry.register(author=author, checkpoint=checkpoint, **(values | others))


def model_version(**others: Any) -> ModelVersion:
    """Return a version that is in no registry; `others` replace its default fields."""
    values: dict[str, Any] = {
        "author": "ada", "version": 1, "checkpoint": "c", "state": "stable", "tainted": False,
        "forced": False, "folder": "", "adapter_gguf": None, "base": "/base",
        "base_gguf": "/base.gguf", "template": "t", "dataset_version": "d",
        "created_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return ModelVersion(**(values | others))


def build_manifest(author: str, checkpoint: str, **others: Any) -> Manifest:
    """Return a manifest of one supervised step on a base model that does not exist."""
    values: dict[str, Any] = {
        "training": "t", "stage": "sft", "template": "t", "dataset": {"data_version": "d"},
        "base": {"name": "tiny", "revision": "r", "folder": "/base", "gguf": None}, "recipe": {},
        "launch": {}, "code": "c", "versions": {}, "tokens": 1, "epochs": 1.0, "steps": 1,
        "metrics": {}, "history": [], "created_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Manifest(author=author, checkpoint=checkpoint, **(values | others))
