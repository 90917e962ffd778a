"""Write the configuration of the LiteLLM proxy.

Scope: `config.yaml`, and the environment variables that keep LiteLLM from excessive logging,
network access at start, and reading `.env` files.
Out of scope: the environment of each process (`processes/child_environment.py`), the model servers.

The twin is the only entry of the list of models; `compose.py` calls the models themselves.

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

REQUEST_TIMEOUT_S = 300
# With OpenTelemetry's default of 5 s, `twin explain` would look for a trace too early.
SPAN_DELAY_MS = 500


def proxy_config() -> dict[str, Any]:
    """Return the content of `config.yaml`; it contains no secret."""
    return {
        "model_list": [
            {"model_name": "twin/*", "litellm_params": {"model": "twin/*", "max_retries": 0}}
        ],
        "litellm_settings": {
            "custom_provider_map": [
                {
                    "provider": "twin",
                    "custom_handler": "twin_resources.gateway.runtime.process.provider",
                }
            ],
            "callbacks": ["twin_resources.gateway.runtime.process.response_fields"],
            "telemetry": False,
            "request_timeout": REQUEST_TIMEOUT_S,
        },
        "router_settings": {
            "num_retries": 0,  # of a whole answer; `compose.py` repeats the call of a model
            "retry_after": 0,
            "disable_cooldowns": True,  # with one deployment, a cooldown refuses every request
        },
        "general_settings": {
            "master_key": "os.environ/LITELLM_MASTER_KEY",
            "custom_auth": "twin_resources.gateway.runtime.process.authenticate",
            "trusted_proxy_ranges": [],
            "disable_spend_logs": True,
            "disable_error_logs": True,
            "disable_responses_id_security": True,  # the ids name a trace of the same key
            "disable_adding_master_key_hash_to_db": True,
            "store_model_in_db": False,
            # A disconnect cancels the call; otherwise the server computes the whole answer.
            "cancel_on_disconnect": True,
        },
    }


def refuse_redirects() -> None:
    """Let LiteLLM's client follow no redirect, so that prompt and key reach only the provider.

    Raises:
        TypeError: LiteLLM created no HTTP client.
    """
    import litellm
    from litellm.llms.openai.common_utils import (  # pyright: ignore[reportMissingTypeStubs]
        BaseOpenAILLM,
    )

    litellm_module: Any = litellm
    client: Any = BaseOpenAILLM.get_async_http_client()
    if client is None:
        raise TypeError("LiteLLM created no HTTP client: adapt proxy_config.py to this version")
    client.follow_redirects = False
    litellm_module.aclient_session = client


def write_proxy_config(settings: Settings) -> Path:
    """Write `<home>/gateway/config.yaml` and return its path."""
    import yaml

    path = settings.home / "gateway" / "config.yaml"
    header = "# Written at every start of the gateway; edits are lost.\n"
    return replace_file(path, header + yaml.safe_dump(proxy_config(), sort_keys=False))


def proxy_environment(config: Path, secrets: Secrets, store: TraceStore) -> Mapping[str, str]:
    """Return the variables that LiteLLM reads when it is imported and when it starts."""
    return {
        "CONFIG_FILE_PATH": str(config),
        "LITELLM_MASTER_KEY": secrets.gateway_master_key,
        "LITELLM_MODE": "PRODUCTION",  # otherwise it loads .env from the working directory
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "DISABLE_ADMIN_UI": "True",
        "NO_DOCS": "True",
        "NO_REDOC": "True",
        "LANGFUSE_HOST": store.host,
        "LANGFUSE_PUBLIC_KEY": store.public_key,
        "LANGFUSE_SECRET_KEY": store.secret_key,
        "OTEL_BSP_SCHEDULE_DELAY": str(SPAN_DELAY_MS),
        "OTEL_SDK_DISABLED": "false",
        "LANCE_LOG": "error",  # otherwise each search logs two warnings
        # Loopback connections must not use a proxy that the environment sets.
        "NO_PROXY": "127.0.0.1,localhost,::1",
        "no_proxy": "127.0.0.1,localhost,::1",
    }
