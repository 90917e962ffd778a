"""A home with several gateways in front of the simulated provider, and the assets beside them.

Scope: asking, materializing, and reading what account, ledger and traces say.
Out of scope: starting and ending it, assertions (`test_gateway_routes_by_cost.py`).
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

from tests.live.gateway.clock_home import AUTHOR
from tests.live.gateway.stack import Stack
from tests.simulated_provider.paid_provider import PaidProvider
from twin_assets.tables_io_manager import TablesIOManager
from twin_resources import dagster_resources as shells
from twin_resources.access.account import SpendingAccount, open_account
from twin_resources.access.keys import KeyLimits, add_key, open_key_store
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.quality.ledger.ledger import Ledger
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.state import State

TWIN = f"twin/{AUTHOR}"


@dataclass(frozen=True)
class Form:
    """How much of everything: labels, their margin, gateways, questions each way of asking has."""

    labels: int
    margin: float
    gateways: int
    questions: int


@dataclass
class Market:
    """A home with its gateways, the provider, and what runs the assets beside them."""

    form: Form
    gateways: list[Stack]
    provider: PaidProvider
    instance: dg.DagsterInstance
    site: str = ""
    friend: str = ""
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def stack(self) -> Stack:
        return self.gateways[0]

    @property
    def settings(self) -> Settings:
        return load_settings()

    def key(self, label: str, **limits: Any) -> str:
        with closing(open_key_store(self.stack.settings)) as state:
            return add_key(
                state, role="site", authors=[AUTHOR], label=label, limits=KeyLimits(**limits)
            )

    def materialize(self, asset: dg.AssetsDefinition, **config: Any) -> dict[str, Any]:
        name = asset.key.path[-1]
        given = {
            "settings": shells.SettingsResource(),
            "tables": shells.TablesResource(),
            "registry": shells.RegistryResource(),
            "model_server": shells.ModelServerResource(),
            "embedder": shells.EmbedderResource(),
            "tables_io": TablesIOManager(),
        }
        result = dg.materialize(
            [asset],
            instance=self.instance,
            partition_key=AUTHOR,
            resources={key: given[key] for key in asset.required_resource_keys if key in given},
            run_config={"ops": {name: {"config": config}}} if config else None,
        )
        [event] = result.asset_materializations_for_node(name)
        return {key: value.value for key, value in event.metadata.items()}

    def ask(self, question: str, *, gateway: int = 0, key: str = "", **more: Any) -> dict[str, Any]:
        body = {"model": TWIN, "messages": [{"role": "user", "content": question}], **more}
        answer = self.gateways[gateway].post(body, key=key or self.site)
        assert answer.status_code == 200, answer.text
        return answer.json()["twin"]

    def account(self) -> SpendingAccount:
        return open_account(self.settings, State.open(self.settings.state_address))

    def settled(self) -> int:
        """Nano-dollars of answers and labels, once nothing is under way."""
        self.stack.wait(lambda: self._held() == 0)
        return self.spent()

    def spent(self) -> int:
        rows = self.account().rows()
        return sum(int(row["nano"]) for row in rows if row["purpose"] in {"answer", "label"})

    def _held(self) -> int:
        return sum(int(row["reserved_nano"]) for row in self.account().rows())

    def answers(self, count: int) -> pl.DataFrame:
        """The ledger's rows, once there are so many."""
        ledger = Ledger.from_settings(self.settings)
        found = pl.DataFrame()

        def arrived() -> bool:
            nonlocal found
            ledger.sync(datetime.now(UTC))
            found = ledger.interactions(AUTHOR)
            return found.height >= count

        self.stack.wait(arrived)
        return found

    def traces(self) -> list[dict[str, Any]]:
        """The metadata of every answer so far."""
        with LangfuseClient.from_settings(self.settings) as client:
            found = list(client.observations(type="GENERATION", since=self.began))
        return [one["metadata"] for one in found]
