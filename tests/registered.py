"""A model version in a registry, where a test does not care of what it is made."""

from __future__ import annotations

from typing import Any

from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.registry import Registry


def register_version(
    registry: Registry, author: str, checkpoint: str, **others: Any
) -> ModelVersion:
    """Register a version; `others` are arguments of `Registry.register` that matter to the test."""
    values: dict[str, Any] = {
        "folder": "",
        "adapter_gguf": None,
        "base": "/base",
        "base_gguf": "/base.gguf",
        "template": "t",
        "dataset_version": "d",
    }
    return registry.register(author=author, checkpoint=checkpoint, **(values | others))
