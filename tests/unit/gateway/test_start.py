"""Test the start of the gateway process: environment, configuration, port, imports."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import yaml

from twin_resources.errors import TwinError
from twin_resources.gateway.__main__ import gateway_environment
from twin_resources.gateway.config.proxy_config import (
    proxy_config,
    proxy_environment,
    write_proxy_config,
)
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.connection import find_trace_store
from twin_resources.settings import Settings, load_secrets

PROVIDER_KEYS = {
    "OPENAI_API_KEY": "sk-1",
    "OPENAI_BASE_URL": "http://elsewhere",
    "ANTHROPIC_API_KEY": "sk-2",
    "AWS_SECRET_ACCESS_KEY": "3",
    "GEMINI_API_KEY": "4",
    "SOME_NEW_PROVIDER_API_KEY": "5",
    "LITELLM_LICENSE": "6",
    "LITELLM_MASTER_KEY": "sk-7",
    "DATABASE_URL": "postgres://8",
    "OTEL_RESOURCE_ATTRIBUTES": "user=me",
}


def get_passed_names(settings: Settings) -> set[str]:
    environment = gateway_environment(settings, {"PATH": "/bin", **PROVIDER_KEYS})
    return set(environment) & set(PROVIDER_KEYS)


@pytest.mark.parametrize(
    "incomplete_settings",
    [
        {},
        {"paid_model": "openai/gpt-4o-mini"},
        {"paid_budget_per_day": 1.0},
        {"teacher_model": "openai/gpt-4o-mini", "judge_model": "anthropic/claude-3-5-haiku-latest"},
    ],
)
def test_a_provider_needs_both_model_and_budget(
    home: Settings, incomplete_settings: dict[str, object]
) -> None:
    assert get_passed_names(home.model_copy(update=incomplete_settings)) == set()


def test_the_keys_of_the_paid_models_provider_are_kept(home: Settings) -> None:
    paid = home.model_copy(update={"paid_model": "openai/gpt-4o-mini", "paid_budget_per_day": 1.0})
    assert get_passed_names(paid) == {"OPENAI_API_KEY", "OPENAI_BASE_URL"}


def test_a_real_langfuse_needs_all_three_settings(home: Settings) -> None:
    secrets = load_secrets(home)
    local = find_trace_store(home, secrets)
    assert local.host == f"http://127.0.0.1:{home.traces_port}"
    names = ("langfuse_host", "langfuse_public_key", "langfuse_secret_key")
    values = ("https://langfuse.example/", "pk", "sk")
    real = find_trace_store(home.model_copy(update=dict(zip(names, values, strict=True))), secrets)
    assert (real.host, real.public_key) == ("https://langfuse.example", "pk")
    here = home.model_copy(
        update=dict(zip(names, ("http://127.0.0.1:3000", "pk", "sk"), strict=True))
    )
    # Its kind comes from who started it, not from its address.
    assert (local.is_embedded, find_trace_store(here, secrets).is_embedded) == (True, False)
    for name, value in zip(names, values, strict=True):
        with pytest.raises(TwinError, match="all three LANGFUSE_"):
            find_trace_store(home.model_copy(update={name: value}), secrets)
        with pytest.raises(TwinError, match="all three LANGFUSE_"):
            LangfuseClient.from_settings(home.model_copy(update={name: value}))
    assert "sk" not in repr(real)


def test_the_configuration_contains_no_secret_and_no_model_but_the_twin(home: Settings) -> None:
    secrets = load_secrets(home)
    text = write_proxy_config(home).read_text(encoding="utf-8")
    for secret in (secrets.gateway_master_key, secrets.gateway_key, secrets.traces_secret_key):
        assert secret not in text
    assert yaml.safe_load(text) == proxy_config()
    assert [entry["model_name"] for entry in proxy_config()["model_list"]] == ["twin/*"]


def test_litellm_runs_offline_in_production_mode(home: Settings) -> None:
    secrets = load_secrets(home)
    environment = proxy_environment(home.home / "c.yaml", secrets, find_trace_store(home, secrets))
    assert environment["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert environment["LITELLM_MODE"] == "PRODUCTION"
    assert environment["LANGFUSE_HOST"].startswith("http://127.0.0.1:")


def test_a_failed_start_is_explained_without_a_traceback(home: Settings) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        completed = subprocess.run(
            [sys.executable, "-m", "twin_resources.gateway"],
            env=os.environ | {"TWIN_GATEWAY_PORT": str(listener.getsockname()[1])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert completed.returncode == 1
    assert completed.stderr.startswith("Tried to listen on 127.0.0.1:")
    assert "Traceback" not in completed.stderr
