"""The configuration of the LiteLLM proxy.

Scope: `config.yaml` and the switches in the environment without which LiteLLM is noisy, asks
the network at start, or listens to `.env` files.
Out of scope: which process gets which environment (`processes/child_environment.py`), the
model
servers: the plugin adds and removes them while the proxy runs, so the list of models starts empty.

Settings: https://docs.litellm.ai/docs/proxy/config_settings
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twin_resources.atomic_writes import replace_file
from twin_resources.observability.langfuse.connection import TraceStore
from twin_resources.settings import Secrets, Settings

# An idle connection that llama.cpp has closed costs one failed attempt. Three more within about two
# seconds outlast the restart of a small model's server; with LiteLLM's own pauses a reader waited
# 8.6 s for a 503.
RETRIES = 3
FIRST_PAUSE_S, MAX_PAUSE_S, PAUSE_JITTER = 0.25, 1.0, 0.1
REQUEST_TIMEOUT_S = 300
SPAN_DELAY_MS = (
    500  # OpenTelemetry's default of 5 s would let `twin explain` look for a trace too early
)


def proxy_config() -> dict[str, Any]:
    """The document that becomes `config.yaml`; it holds no secret."""
    return {
        "model_list": [],
        "litellm_settings": {
            "callbacks": [
                "twin_resources.gateway.runtime.process.plugin",
                "twin_resources.gateway.runtime.process.trace_logger",
            ],
            "telemetry": False,
            "request_timeout": REQUEST_TIMEOUT_S,
            "enable_post_custom_auth_checks": True,
        },
        "router_settings": {
            "num_retries": RETRIES,
            "retry_after": 0,
            "disable_cooldowns": True,  # one deployment a version: cooling it down refuses requests
        },
        "general_settings": {
            "master_key": "os.environ/LITELLM_MASTER_KEY",
            "custom_auth": "twin_resources.gateway.runtime.process.authenticate",
            "trusted_proxy_ranges": [],
            "disable_spend_logs": True,
            "disable_error_logs": True,
            "disable_adding_master_key_hash_to_db": True,
            "store_model_in_db": False,
            # A reader who leaves ends the work; else whole answers were computed to the end.
            "cancel_on_disconnect": True,
        },
    }


def write_proxy_config(settings: Settings) -> Path:
    """Write `<home>/gateway/config.yaml` and return its path."""
    import yaml

    path = settings.home / "gateway" / "config.yaml"
    note = "# Written at every start of the gateway; an edit is lost.\n"
    return replace_file(path, note + yaml.safe_dump(proxy_config(), sort_keys=False))


def proxy_environment(config: Path, secrets: Secrets, store: TraceStore) -> Mapping[str, str]:
    """Variables that LiteLLM reads when it is imported and when it starts."""
    return {
        "CONFIG_FILE_PATH": str(config),
        "LITELLM_MASTER_KEY": secrets.gateway_master_key,
        "LITELLM_MODE": "PRODUCTION",  # else it loads the .env files of the working folder
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "DISABLE_ADMIN_UI": "True",
        "NO_DOCS": "True",
        "NO_REDOC": "True",
        "LANGFUSE_HOST": store.host,
        "LANGFUSE_PUBLIC_KEY": store.public_key,
        "LANGFUSE_SECRET_KEY": store.secret_key,
        "INITIAL_RETRY_DELAY": str(FIRST_PAUSE_S),
        "MAX_RETRY_DELAY": str(MAX_PAUSE_S),
        "JITTER": str(PAUSE_JITTER),
        "OTEL_BSP_SCHEDULE_DELAY": str(SPAN_DELAY_MS),
        "OTEL_SDK_DISABLED": "false",
        "LANCE_LOG": "error",  # two warnings a search otherwise
        # A proxy of the environment must not carry what goes to the loopback.
        "NO_PROXY": "127.0.0.1,localhost,::1",
        "no_proxy": "127.0.0.1,localhost,::1",
    }
