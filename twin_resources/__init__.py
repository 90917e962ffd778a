"""The ground floor: the outside world, and the words and mathematics that everyone shares.

Public names resolve lazily (PEP 562): `from twin_resources import LangfuseResource` builds
nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "EmbedderResource": "dagster_resources",
    "LangfuseResource": "dagster_resources",
    "ModelServerResource": "dagster_resources",
    "RegistryResource": "dagster_resources",
    "RetrieverResource": "dagster_resources",
    "SettingsResource": "dagster_resources",
    "StateResource": "dagster_resources",
    "TablesResource": "dagster_resources",
    "TrainingLauncherResource": "dagster_resources",
    "Registry": "registry.registry",
    "Retriever": "retrieval.retrieval",
    "Settings": "settings",
    "State": "state.state",
    "Tables": "tables.tables",
    "TwinError": "errors",
    "load_settings": "settings",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the map above is the list


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"twin_resources.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'twin_resources' has no attribute {name!r}")
