"""The ConfigurableResource shells: what an asset is handed, and what a test overrides.

Scope: thin shells that read the settings and hand over the plain object, imported inside the
method; what they opened is closed when the run or the tick has ended.
Out of scope: logic; the plain modules of this package hold it and know no dagster.
Method: https://docs.dagster.io/api/dagster/resources, `create_resource` and `yield_for_execution`

An asset asks for the object: `tables: dg.ResourceParam[Tables]`. Embedder and retriever hand over
themselves, and the step that embeds says `embedder.embedder()`: Dagster makes a run's resources
before its first step, and an import without a prepared embedder would not read a post.
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


class _OfHome(dg.ConfigurableResource):
    """A resource whose settings come from one home; empty: `TWIN_HOME`, else `.twin`."""

    home: str = ""

    def settings(self) -> Settings:
        return load_settings(self.home or None)


class _OnState(_OfHome):
    """One whose object works on the state store; each has its own connections."""

    def _open(self) -> State:
        from twin_resources.registry.home_state import check_state_of_home
        from twin_resources.storage.state.state import State

        settings = self.settings()
        state = State.open(settings.state_address)
        check_state_of_home(settings, state)
        return state

    def _over(self, state: State) -> Any:
        raise NotImplementedError

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Any]:  # noqa: ARG002
        with closing(self._open()) as state:
            yield self._over(state)


class SettingsResource(_OfHome):
    """The settings of this home."""

    def create_resource(self, context: dg.InitResourceContext) -> Settings:  # noqa: ARG002
        return self.settings()


class StateResource(_OnState):
    """The state store: leases, registry, keys."""

    def _over(self, state: State) -> State:
        return state


class TablesResource(_OnState):
    """The Lance tables of every author."""

    def tables(self) -> Tables:
        """The tables, for Python without Dagster."""
        return self._over(self._open())

    def _over(self, state: State) -> Tables:
        from twin_resources.storage.tables.tables import Tables

        return Tables(self.settings().tables_base, state=state)


class EmbedderResource(_OfHome):
    """The embedder that the settings name."""

    def embedder(self) -> Embedder:
        from twin_resources.models.embedder.embedder import load_embedder

        return load_embedder(self.settings())


class RetrieverResource(_OfHome):
    """Retrieval as the gateway does it: one function for dataset, evaluation and serving."""

    def retriever(self) -> Retriever:
        from twin_resources.models.embedder.embedder import load_embedder
        from twin_resources.models.retrieval.reranker import load_reranker
        from twin_resources.models.retrieval.retrieval import Retriever

        settings = self.settings()
        return Retriever(
            settings.tables_base, load_embedder(settings), reranker=load_reranker(settings)
        )


class RegistryResource(_OnState):
    """Model versions, verdicts and moves."""

    def registry(self) -> Registry:
        """The registry, for Python without Dagster."""
        return self._over(self._open())

    def _over(self, state: State) -> Registry:
        from twin_resources.registry.registry import Registry

        return Registry(state, policy_path=self.settings().policy_path)


class ModelServerResource(_OfHome):
    """Starts a model server for a checkpoint, or names the one that runs."""

    def create_resource(self, context: dg.InitResourceContext) -> ModelServers:  # noqa: ARG002
        from twin_resources.models.serving.model_server import ModelServers

        return ModelServers(self.settings())


class TrainingLauncherResource(_OfHome):
    """Where training runs: `local`, or `ray`; empty: as the settings say."""

    backend: str = ""

    def launcher(self) -> TrainingLauncher:
        """The launcher, for Python without Dagster."""
        from twin_resources.models.training_launcher import make_launcher

        return make_launcher(self.backend, self.settings())

    def create_resource(self, context: dg.InitResourceContext) -> TrainingLauncher:  # noqa: ARG002
        return self.launcher()


class LangfuseResource(_OfHome):
    """Traces and scores: a real Langfuse when LANGFUSE_* names one, else the local store."""

    @contextmanager
    def yield_for_execution(
        self,
        context: dg.InitResourceContext,  # noqa: ARG002
    ) -> Generator[LangfuseClient]:
        from twin_resources.observability.langfuse.client import LangfuseClient

        with LangfuseClient.from_settings(self.settings()) as client:
            yield client
