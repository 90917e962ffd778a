"""Run a home with several gateways, a simulated provider and the assets.

Scope: asking questions, materializing assets, and reading account, ledger and traces.
Out of scope: starting and stopping the processes, assertions (`test_gateway_routes_by_cost.py`).
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

from tests.live.gateway.labeling_home import AUTHOR
from tests.live.gateway.stack import Stack
from tests.simulated_provider.paid_provider import PaidProvider
from twin_assets.tables_io_manager import TablesIOManager
from twin_resources import dagster_resources
from twin_resources.access.account import SpendingAccount, open_account
from twin_resources.access.keys import KeyLimits, add_key, open_key_store
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state

TWIN = f"twin/{AUTHOR}"


@dataclass(frozen=True)
class ClusterSize:
    """The size of a test.

    Attributes:
        margin: the quality margin (`TWIN_QUALITY_MARGIN`).
        question_count: questions that are asked once the policy is fitted.
    """

    label_count: int
    margin: float
    gateway_count: int
    question_count: int


@dataclass
class Cluster:
    """A home with its gateways, the provider, readers' keys and a Dagster instance."""

    size: ClusterSize
    gateways: list[Stack]
    provider: PaidProvider
    instance: dg.DagsterInstance
    site_key: str = ""
    friend_key: str = ""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def stack(self) -> Stack:
        return self.gateways[0]

    @property
    def settings(self) -> Settings:
        return load_settings()

    def create_key(self, label: str, **limits: Any) -> str:
        with closing(open_key_store(self.stack.settings)) as state:
            return add_key(
                state, role="site", authors=[AUTHOR], label=label, limits=KeyLimits(**limits)
            )

    def materialize(self, asset: dg.AssetsDefinition, **config: Any) -> dict[str, Any]:
        name = asset.key.path[-1]
        resources = {
            "settings": dagster_resources.SettingsResource(),
            "tables": dagster_resources.TablesResource(),
            "registry": dagster_resources.RegistryResource(),
            "model_server": dagster_resources.ModelServerResource(),
            "embedder": dagster_resources.EmbedderResource(),
            "tables_io": TablesIOManager(),
        }
        result = dg.materialize(
            [asset],
            instance=self.instance,
            partition_key=AUTHOR,
            resources={
                key: resources[key] for key in asset.required_resource_keys if key in resources
            },
            run_config={"ops": {name: {"config": config}}} if config else None,
        )
        [event] = result.asset_materializations_for_node(name)
        return {key: value.value for key, value in event.metadata.items()}

    def ask(
        self, question: str, *, gateway: int = 0, key: str = "", **fields: Any
    ) -> dict[str, Any]:
        body = {"model": TWIN, "messages": [{"role": "user", "content": question}], **fields}
        answer = self.gateways[gateway].post(body, key=key or self.site_key)
        assert answer.status_code == 200, answer.text
        return answer.json()["twin"]

    def account(self) -> SpendingAccount:
        return open_account(self.settings, open_home_state(self.settings))

    def settled_nano(self) -> int:
        """Wait until all calls have ended; return the nano-dollars spent on answers and labels."""
        self.stack.wait(lambda: self._reserved_nano() == 0)
        return self.spent_nano()

    def spent_nano(self) -> int:
        rows = self.account().list_spending()
        return sum(int(row["nano"]) for row in rows if row["purpose"] in {"answer", "label"})

    def _reserved_nano(self) -> int:
        return sum(int(row["reserved_nano"]) for row in self.account().list_spending())

    def wait_for_answers(self, count: int) -> pl.DataFrame:
        """Wait until the ledger has `count` answers; return its rows."""
        ledger = Ledger.from_settings(self.settings)
        interactions = pl.DataFrame()

        def has_arrived() -> bool:
            nonlocal interactions
            ledger.sync(datetime.now(UTC))
            interactions = ledger.interactions(AUTHOR)
            return interactions.height >= count

        self.stack.wait(has_arrived)
        return interactions

    def read_traces(self) -> list[dict[str, Any]]:
        """Return the metadata of every answer's trace so far."""
        with LangfuseClient.from_settings(self.settings) as client:
            observations = list(client.observations(type="GENERATION", since=self.started_at))
        return [observation["metadata"] for observation in observations]
