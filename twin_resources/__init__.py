"""Provide the resources of the platform, and types and functions that all packages share.

Public names resolve lazily (PEP 562): `from twin_resources import LangfuseResource` imports
nothing else. Static analyzers see the same names as plain imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twin_resources.dagster_resources import (
        EmbedderResource,
        LangfuseResource,
        ModelServerResource,
        RegistryResource,
        RetrieverResource,
        SettingsResource,
        StateResource,
        TablesResource,
        TrainingLauncherResource,
    )
    from twin_resources.errors import TwinError
    from twin_resources.models.retrieval.retrieval import Retriever
    from twin_resources.registry.registry import Registry
    from twin_resources.settings import Settings, load_settings
    from twin_resources.storage.state.state import State
    from twin_resources.storage.tables.tables import Tables

__all__ = [
    "EmbedderResource",
    "LangfuseResource",
    "ModelServerResource",
    "Registry",
    "RegistryResource",
    "Retriever",
    "RetrieverResource",
    "Settings",
    "SettingsResource",
    "State",
    "StateResource",
    "Tables",
    "TablesResource",
    "TrainingLauncherResource",
    "TwinError",
    "load_settings",
]
_MODULES = {
    **{name: "dagster_resources" for name in __all__ if name.endswith("Resource")},
    "Registry": "registry.registry",
    "Retriever": "models.retrieval.retrieval",
    "Settings": "settings",
    "State": "storage.state.state",
    "Tables": "storage.tables.tables",
    "TwinError": "errors",
    "load_settings": "settings",
}

if not TYPE_CHECKING:  # otherwise an analyzer would accept misspelt names

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return getattr(import_module(f"twin_resources.{_MODULES[name]}"), name)
        raise AttributeError(f"module 'twin_resources' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
