"""What the gateway process starts with: environment, configuration, port, imports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping

import pytest
import yaml

from twin_resources.errors import TwinError
from twin_resources.gateway.__main__ import check_port, gateway_environment
from twin_resources.gateway.config.proxy_config import (
    proxy_config,
    proxy_environment,
    write_proxy_config,
)
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.connection import trace_store
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


def passed(settings: Settings, extra: Mapping[str, str] = PROVIDER_KEYS) -> set[str]:
    clean = gateway_environment(settings, {"PATH": "/bin", **extra})
    return set(clean) & set(extra)


def test_provider_keys_that_are_merely_there_do_not_pass(home: Settings) -> None:
    assert passed(home) == set()


@pytest.mark.parametrize(
    "half",
    [
        {"paid_model": "openai/gpt-4o-mini"},
        {"paid_budget_per_day": 1.0},
        {"teacher_model": "openai/gpt-4o-mini", "judge_model": "anthropic/claude-3-5-haiku-latest"},
    ],
)
def test_without_model_and_budget_no_key_passes(home: Settings, half: dict[str, object]) -> None:
    assert passed(home.model_copy(update=half)) == set()


def test_with_a_paid_route_its_own_provider_passes(home: Settings) -> None:
    paid = home.model_copy(update={"paid_model": "openai/gpt-4o-mini", "paid_budget_per_day": 1.0})
    assert passed(paid) == {"OPENAI_API_KEY", "OPENAI_BASE_URL"}


def test_a_real_langfuse_is_named_in_full_or_not_at_all(home: Settings) -> None:
    secrets = load_secrets(home)
    local = trace_store(home, secrets)
    assert local.host == f"http://127.0.0.1:{home.traces_port}"
    names = ("langfuse_host", "langfuse_public_key", "langfuse_secret_key")
    values = ("https://langfuse.example/", "pk", "sk")
    real = trace_store(home.model_copy(update=dict(zip(names, values, strict=True))), secrets)
    assert (real.host, real.public_key) == ("https://langfuse.example", "pk")
    for name, value in zip(names, values, strict=True):
        with pytest.raises(TwinError, match="all three LANGFUSE_"):
            trace_store(home.model_copy(update={name: value}), secrets)
        with pytest.raises(TwinError, match="all three LANGFUSE_"):  # and is read nowhere else
            LangfuseClient.from_settings(home.model_copy(update={name: value}))
    assert "sk" not in repr(real)


def test_the_configuration_holds_no_secret_and_no_model(home: Settings) -> None:
    secrets = load_secrets(home)
    text = write_proxy_config(home).read_text(encoding="utf-8")
    for secret in (secrets.gateway_master_key, secrets.gateway_key, secrets.traces_secret_key):
        assert secret not in text
    assert yaml.safe_load(text) == proxy_config()
    assert proxy_config()["model_list"] == []


def test_litellm_is_told_to_be_quiet(home: Settings) -> None:
    secrets = load_secrets(home)
    environment = proxy_environment(home.home / "c.yaml", secrets, trace_store(home, secrets))
    assert environment["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert environment["LITELLM_MODE"] == "PRODUCTION"
    assert environment["LANGFUSE_HOST"].startswith("http://127.0.0.1:")


def test_a_port_in_use_is_said_before_the_start() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TwinError, match="TWIN_GATEWAY_PORT") as caught:
            check_port("127.0.0.1", port)
    assert f"127.0.0.1:{port}" in caught.value.tried
    check_port("127.0.0.1", port)


def test_a_start_that_fails_says_why_in_one_line(home: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = subprocess.run(
            [sys.executable, "-m", "twin_resources.gateway"],
            env=os.environ | {"TWIN_GATEWAY_PORT": str(taken.getsockname()[1])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith("Tried to listen on 127.0.0.1:")
    assert "Traceback" not in ended.stderr


def test_the_parent_process_imports_nothing_heavy() -> None:
    program = (
        "import json, sys, twin_resources.gateway.__main__, twin_resources.gateway.api.routes, "
        "twin_resources.gateway.stages.request_path, twin_resources.gateway.runtime.config_watcher;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    heavy = {"litellm", "dagster", "torch", "transformers", "lancedb", "openvino", "langfuse"}
    assert heavy & set(json.loads(loaded)) == set()
