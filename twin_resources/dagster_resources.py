"""Define the Dagster resources that assets receive and that tests override.

Scope: thin ConfigurableResource classes that read the settings and return a plain object. Each
method imports the module of its object, and opened objects are closed when the run or tick ends.
Out of scope: logic, which belongs in this package's modules without dagster.
Method: https://docs.dagster.io/api/dagster/resources, `create_resource` and `yield_for_execution`

An asset requests the object: `tables: dg.ResourceParam[Tables]`. The embedder and the retriever are
passed as resources instead, and the embedding step calls `embedder.embedder()`. Dagster creates a
run's resources before its first step, and an import must be able to read posts without a prepared
embedder.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

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


class _HomeResource(dg.ConfigurableResource):
    """A resource with the settings of one home; by default `TWIN_HOME`, else `.twin`."""

    home: str = ""

    def settings(self) -> Settings:
        return load_settings(self.home or None)


class _StateStoreResource(_HomeResource):
    """A resource whose object uses the state store through its own connections."""

    def _open_state(self) -> State:
        from twin_resources.storage.state.home_state import open_home_state

        return open_home_state(self.settings())

    def _build(self, state: State) -> Any:
        raise NotImplementedError

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Any]:  # noqa: ARG002
        with closing(self._open_state()) as state:
            yield self._build(state)


class SettingsResource(_HomeResource):
    """The settings of this home."""

    def create_resource(self, context: dg.InitResourceContext) -> Settings:  # noqa: ARG002
        return self.settings()


class StateResource(_StateStoreResource):
    """The state store, with leases, registry and keys."""

    def _build(self, state: State) -> State:
        return state


class TablesResource(_StateStoreResource):
    """The Lance tables of every author."""

    def tables(self) -> Tables:
        """Return the tables, for Python without Dagster."""
        return self._build(self._open_state())

    def _build(self, state: State) -> Tables:
        from twin_resources.storage.tables.tables import Tables

        return Tables(self.settings().tables_base, state=state)


class EmbedderResource(_HomeResource):
    """The configured embedder."""

    def embedder(self) -> Embedder:
        from twin_resources.models.embedder.embedder import load_embedder

        return load_embedder(self.settings())


class RetrieverResource(_HomeResource):
    """The gateway's retriever, which the datasets and the evaluation also use."""

    def retriever(self) -> Retriever:
        from twin_resources.models.embedder.embedder import load_embedder
        from twin_resources.models.retrieval.retrieval import Retriever

        settings = self.settings()
        return Retriever(settings.tables_base, load_embedder(settings))


class RegistryResource(_StateStoreResource):
    """Model versions, verdicts and moves."""

    def registry(self) -> Registry:
        """Return the registry, for Python without Dagster."""
        return self._build(self._open_state())

    def _build(self, state: State) -> Registry:
        from twin_resources.registry.registry import Registry

        return Registry(state, policy_path=self.settings().policy_path)


class ModelServerResource(_HomeResource):
    """The model servers: for each checkpoint, the running server or a new one."""

    def create_resource(self, context: dg.InitResourceContext) -> ModelServers:  # noqa: ARG002
        from twin_resources.models.serving.model_server import ModelServers

        return ModelServers(self.settings())


class TrainingLauncherResource(_HomeResource):
    """The training launcher, which trains on the machine of its step."""

    def launcher(self) -> TrainingLauncher:
        """Return the launcher, for Python without Dagster."""
        from twin_resources.models.training_launcher import LocalLauncher

        return LocalLauncher(self.settings())

    def create_resource(self, context: dg.InitResourceContext) -> TrainingLauncher:  # noqa: ARG002
        return self.launcher()


class LangfuseResource(_HomeResource):
    """Traces and scores: a real Langfuse if LANGFUSE_* is set, else the local store."""

    @contextmanager
    def yield_for_execution(
        self,
        context: dg.InitResourceContext,  # noqa: ARG002
    ) -> Generator[LangfuseClient]:
        from twin_resources.observability.langfuse.client import LangfuseClient

        with LangfuseClient.from_settings(self.settings()) as client:
            yield client
