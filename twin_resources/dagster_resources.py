"""The ConfigurableResource shells: what an asset is handed, and what a test overrides.

Belongs here: thin shells that read the settings and build the plain object, imported inside the
method.
Does not belong here: logic; the plain modules of this package hold it and know no dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from twin_resources.authors import Author, read_author
from twin_resources.settings import Settings, load_settings

if TYPE_CHECKING:
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.models.retrieval.retrieval import Retriever
    from twin_resources.models.serving.model_server import ModelServers
    from twin_resources.models.training_launcher import TrainingLauncher
    from twin_resources.observability.langfuse.client import LangfuseClient
    from twin_resources.registry.registry import Registry
    from twin_resources.storage.state.state import State
    from twin_resources.storage.tables.tables import Tables


class _OfHome(dg.ConfigurableResource):
    """A resource whose settings come from one home; empty: `TWIN_HOME`, else `.twin`."""

    home: str = ""

    def settings(self) -> Settings:
        return load_settings(self.home or None)


class SettingsResource(_OfHome):
    """The settings and the authors of this home."""

    def author(self, slug: str) -> Author:
        return read_author(self.settings(), slug)


class StateResource(_OfHome):
    """The state store: leases, registry, keys."""

    def state(self) -> State:
        from twin_resources.storage.state.state import State

        return State.open(self.settings().state_address)


class TablesResource(_OfHome):
    """The Lance tables of every author."""

    def tables(self) -> Tables:
        from twin_resources.storage.state.state import State
        from twin_resources.storage.tables.tables import Tables

        settings = self.settings()
        return Tables(settings.tables_base, state=State.open(settings.state_address))


class EmbedderResource(_OfHome):
    """The embedder that the settings name."""

    def embedder(self) -> Embedder:
        from twin_resources.models.embedder.embedder import load_embedder

        return load_embedder(self.settings())


class RetrieverResource(_OfHome):
    """Retrieval as the gateway does it: one function for dataset, evaluation and serving."""

    def retriever(self) -> Retriever:
        from twin_resources.models.embedder.embedder import load_embedder
        from twin_resources.models.retrieval.retrieval import Retriever

        settings = self.settings()
        return Retriever(settings.tables_base, load_embedder(settings))


class RegistryResource(_OfHome):
    """Model versions, verdicts and moves."""

    def registry(self) -> Registry:
        from twin_resources.registry.registry import Registry
        from twin_resources.storage.state.state import State

        settings = self.settings()
        return Registry(State.open(settings.state_address), policy_path=settings.policy_path)


class ModelServerResource(_OfHome):
    """Starts a model server for a checkpoint, or names the one that runs."""

    def servers(self) -> ModelServers:
        from twin_resources.models.serving.model_server import ModelServers

        return ModelServers(self.settings())


class TrainingLauncherResource(_OfHome):
    """Where training runs: `local`, or `ray`; empty: as the settings say."""

    backend: str = ""

    def launcher(self) -> TrainingLauncher:
        from twin_resources.models.training_launcher import make_launcher

        return make_launcher(self.backend, self.settings())


class LangfuseResource(_OfHome):
    """Traces and scores: a real Langfuse when LANGFUSE_* names one, else the local store."""

    def client(self) -> LangfuseClient:
        from twin_resources.observability.langfuse.client import LangfuseClient

        return LangfuseClient.from_settings(self.settings())
