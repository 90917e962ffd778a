"""The paid route: it exists with model and budget only, and ends with the budget.

The paid API is a llama.cpp server that answers in its place, at the price of the named model.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.live.gateway.stack import Stack, new_stack, requests_of
from twin_assets.partitions import authors
from twin_assets.serving.routing import paid_blended_usd
from twin_assets.serving.routing_policy import routing_policy
from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import RegistryResource, SettingsResource
from twin_resources.errors import TwinError
from twin_resources.gateway.choice import PAID
from twin_resources.gateway.cost import Throughput
from twin_resources.gateway.following import write_throughput
from twin_resources.gateway.paid_budget import price_of
from twin_resources.gateway.prompt_classes import classify
from twin_resources.settings import Settings

pytestmark = [pytest.mark.live, pytest.mark.alone]
MODEL = "openai/gpt-4o-mini"
BODY: dict[str, Any] = {
    "model": "twin/ann@paid",
    "messages": [{"role": "user", "content": "How much oil does a clock need?"}],
    "max_tokens": 5,
}


@pytest.fixture(scope="module")
def paid(
    tmp_path_factory: pytest.TempPathFactory, gateway_weights: Path, tiny_gguf: Path
) -> Iterator[Stack]:
    environ: dict[str, str] = {}
    folder = tmp_path_factory.mktemp("paid")
    with new_stack(folder, gateway_weights, tiny_gguf, environ=environ) as stack:
        for name in ("base", "elsewhere"):
            stack.start_model(name)
        api = stack.servers.pop("elsewhere")
        stack.publish()
        environ |= {
            "TWIN_PAID_MODEL": MODEL,
            "TWIN_PAID_BUDGET_PER_DAY": str(
                1.5 * price_of(MODEL, prompt_tokens=60, answer_tokens=5)
            ),
            "OPENAI_API_KEY": api["key"],
            "OPENAI_BASE_URL": api["url"],
            "ANTHROPIC_API_KEY": "sk-ant-found-by-chance",
        }
        stack.start_gateway()
        yield stack


def test_the_paid_model_answers_until_the_budget_is_used_up(paid: Stack) -> None:
    assert "twin/ann@paid" in [model.id for model in paid.client().models.list()]
    before = requests_of(paid.models["base"])
    first = paid.post(BODY).json()
    usage = first["usage"]
    price = price_of(
        MODEL, prompt_tokens=usage["prompt_tokens"], answer_tokens=usage["completion_tokens"]
    )
    assert first["twin"]["version"] == "paid"
    assert first["twin"]["cost_usd"] == pytest.approx(price)
    paid.release("ann", 1, diverted={classify(BODY["messages"][0]["content"]): PAID})
    paid.wait(lambda: "twin/ann@stable" in [model.id for model in paid.client().models.list()])
    streamed = paid.post(BODY | {"model": "twin/ann", "stream": True})
    assert '"version":"paid"' in streamed.text
    assert '"route":"divert:paid"' in streamed.text
    refused = paid.post(BODY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "paid_budget_used_up")
    assert "00:00 UTC" in refused.json()["error"]["message"]
    assert requests_of(paid.models["base"]) == before
    diverted = paid.post(BODY | {"model": "twin/ann"}).json()["twin"]
    assert diverted["version"] == "base"  # v1 has no server here
    assert diverted["degraded"].startswith("divert:paid, budget used up: answered by base")


def test_only_the_paid_models_key_reaches_the_proxy(paid: Stack) -> None:
    environment = paid.worker().environ()
    assert "OPENAI_API_KEY" in environment
    assert "ANTHROPIC_API_KEY" not in environment


def test_the_paid_price_follows_the_mix_and_an_unknown_model_has_none() -> None:
    prompt_only = paid_blended_usd("openai/gpt-4o-mini", prompt_share=1.0)
    answer_only = paid_blended_usd("openai/gpt-4o-mini", prompt_share=0.0)
    half = paid_blended_usd("openai/gpt-4o-mini", prompt_share=0.5)
    assert half == pytest.approx((prompt_only + answer_only) / 2)
    assert 0 < prompt_only < answer_only
    with pytest.raises(TwinError, match="price map"):
        paid_blended_usd("openai/no-such-model-at-all")


def test_the_routing_policy_reports_the_break_even(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_PAID_MODEL", MODEL)
    monkeypatch.setenv("TWIN_PAID_BUDGET_PER_DAY", "1.5")
    write_author(home, Author("ada", "Ada"))
    path = home.home / "gateway" / "throughput.json"
    write_throughput(path, {"base": Throughput(tokens=1000, requests=5, busy_seconds=10.0)})
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(authors.name), ["ada"])
        result = dg.materialize(
            [routing_policy],
            instance=instance,
            partition_key="ada",
            resources={"settings": SettingsResource(), "registry": RegistryResource()},
        )
    [event] = result.asset_materializations_for_node("routing_policy")
    told: dict[str, Any] = {name: value.value for name, value in event.metadata.items()}
    assert told["routing"]["paid"]["budget_usd_per_day"] == 1.5
    assert told["break_even_utilisation"] == pytest.approx(
        told["usd_per_million_tokens"] / told["paid_usd_per_million_tokens"]
    )
