"""Build the environment of a stack process: only the variables that it needs, and no telemetry.

Scope: the allow-list, the provider keys that a configured model needs, and the variables that turn
off telemetry in each package.
Out of scope: settings, ports and secrets themselves.

An allow-list is used because the variables of future providers are unknown. Other keys in the
environment do not reach a child process (see deploy/docs/architecture.md).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twin_resources.processes.process_identity import INSTANCE_VARIABLE
from twin_resources.settings import (
    EMBEDDED_BASE_MODEL,
    EMBEDDED_EMBEDDER,
    MULTILINGUAL_EMBEDDER,
    Settings,
)
from twin_resources.wait_limits import MAX_IDLE_S

_ALLOWED_NAMES = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP"),
        *("TMP", "TERM", "COLUMNS", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH"),
        *("DYLD_FALLBACK_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS"),
        *("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "SSL_CERT_FILE"),
        *("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY"),
        *("ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy", "CC"),
        *("CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS", "MAX_JOBS", "HF_HOME", "HF_HUB_CACHE"),
        *("HF_ENDPOINT", "HF_XET_CACHE", "LANGFUSE_HOST", "LANGFUSE_BASE_URL"),
        *("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY", "LANGFUSE_TRACING_ENVIRONMENT"),
    )
)
_ALLOWED_PREFIXES = (
    *("LC_", "XDG_", "TWIN_", "PIP_", "UV_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "NCCL_", "GLOO_"),
    *("OMP_", "MKL_", "KMP_", "OPENBLAS_", "TORCH_", "PYTORCH_", "TRITON_", "DS_", "DEEPSPEED_"),
    *("GLIBC_", "MALLOC_", "ONEDNN_"),
)
# S3 tables, S3 logs and Bedrock read the same variables.
_CLOUD_PREFIXES = ("AWS_",)

# Providers whose prefix in LiteLLM model names differs from the prefix of their variables.
_PROVIDER_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "azure": ("AZURE_",),
    "azure_ai": ("AZURE_", "AZURE_AI_"),
    "bedrock": _CLOUD_PREFIXES,
    "sagemaker": _CLOUD_PREFIXES,
    "gemini": ("GEMINI_", "GOOGLE_"),
    "vertex_ai": ("GOOGLE_", "VERTEX_", "VERTEXAI_"),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_"),
    "together_ai": ("TOGETHERAI_", "TOGETHER_AI_"),
    "fireworks_ai": ("FIREWORKS_AI_", "FIREWORKS_"),
}
# LiteLLM recognizes these names without a prefix.
_BARE_MODELS = (
    (("gpt-", "o1", "o3", "o4", "chatgpt-"), "openai"),
    (("claude-",), "anthropic"),
    (("gemini-",), "gemini"),
    (("mistral-",), "mistral"),
    (("command-",), "cohere"),
)

TELEMETRY_OFF: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "DISABLE_TELEMETRY": "1",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise, each start fetches prices from GitHub
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_LOG": "ERROR",
    "RAY_USAGE_STATS_ENABLED": "0",  # of the executor dagster_ray (TWIN_STEPS_APART)
    "ANONYMIZED_TELEMETRY": "False",
    "SCARF_NO_ANALYTICS": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "WANDB_MODE": "disabled",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# `source .twin/env` sets these variables in a user's shell. They belong to the stack that wrote the
# file, and another stack must not use them as its keys.
_SOURCED_VARIABLES = frozenset(
    ("TWIN_MODEL", "TWIN_TRACES_URL", "TWIN_TRACES_PUBLIC_KEY", "TWIN_TRACES_SECRET_KEY")
)
_OFFLINE: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
}


def list_provider_prefixes(models: Iterable[str]) -> tuple[str, ...]:
    """Return the prefixes of the variables that these LiteLLM models need.

    Args:
        models: LiteLLM model names (`anthropic/claude-…`, `gpt-…`); empty names are skipped.
    """
    prefixes: list[str] = []
    for model in filter(None, models):
        if provider := parse_provider(model):
            prefixes.extend(_PROVIDER_PREFIXES.get(provider, (f"{provider.upper()}_",)))
    return tuple(dict.fromkeys(prefixes))


def parse_provider(model: str) -> str:
    """Return the provider of a LiteLLM model name, with or without a prefix; "" if unknown."""
    provider, slash, _ = model.partition("/")
    if slash:
        return provider
    return next((name for prefixes, name in _BARE_MODELS if model.startswith(prefixes)), "")


def list_external_models(settings: Settings) -> tuple[str, ...]:
    """Return the external models in the settings: teacher, judge, and paid model with a budget."""
    paid_model = settings.paid_model if settings.has_paid_route else ""
    return tuple(filter(None, (settings.teacher_model, settings.judge_model, paid_model)))


def child_environment(
    settings: Settings, *, instance: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """Build the complete environment of a child process of the stack.

    Args:
        settings: settings with the home, ports and models, which override `environ`.
        instance: the stack's instance id, with which `twin stop` finds every process of the stack.
        environ: environment of the user who started the stack (`os.environ`).
    """
    uses_embedded_models = settings.base_model == EMBEDDED_BASE_MODEL and settings.embedder in {
        EMBEDDED_EMBEDDER,
        MULTILINGUAL_EMBEDDER,
    }
    prefixes = (*_ALLOWED_PREFIXES, *list_provider_prefixes(list_external_models(settings)))
    if settings.tables_uri.startswith("s3://"):
        prefixes += _CLOUD_PREFIXES
    if settings.state_url.startswith("postgres"):
        prefixes += ("PG",)
    if not uses_embedded_models:
        prefixes += ("HF_TOKEN",)  # gated models and data sets of the hub
    environment = {
        name: value
        for name, value in environ.items()
        if (name in _ALLOWED_NAMES or name.startswith(prefixes)) and name not in _SOURCED_VARIABLES
    }
    environment |= TELEMETRY_OFF
    if uses_embedded_models:
        environment |= _OFFLINE
    return environment | {
        INSTANCE_VARIABLE: instance,
        "TWIN_HOME": str(settings.home),
        "TWIN_HOST": settings.host,
        "TWIN_BASE_MODEL": settings.base_model,
        "TWIN_EMBEDDER": settings.embedder,
        "TWIN_GATEWAY_PORT": str(settings.gateway_port),
        "TWIN_DAGSTER_PORT": str(settings.dagster_port),
        "TWIN_TRACES_PORT": str(settings.traces_port),
        "TWIN_CHAT_PORT": str(settings.chat_port),
        "DAGSTER_HOME": str(settings.home / "dagster"),
        # How long the webserver and the daemon wait for the code server. The default of 60 s
        # aborted starts on a busy machine. A longer wait delays other sensors after a slow tick,
        # but a dead server still closes the connection.
        "DAGSTER_GRPC_TIMEOUT_SECONDS": str(MAX_IDLE_S),
        # matplotlib's font list would otherwise be in ~/.cache and ~/.config.
        "MPLCONFIGDIR": str(settings.home / "cache" / "matplotlib"),
        "PYTHONUNBUFFERED": "1",
        # The processes of a stack share the cores, and OpenMP threads in a busy loop occupy them.
        # With another training run, the gate took eight minutes instead of 20 s.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def list_withheld_variables(
    settings: Settings, *, needed_for: Iterable[str], environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the provider variables in the environment that a program must not receive.

    Args:
        needed_for: names of the LiteLLM models that the program calls.
    """
    needed_prefixes = list_provider_prefixes(needed_for)
    if settings.tables_uri.startswith("s3://"):
        needed_prefixes += _CLOUD_PREFIXES
    configured_prefixes = list_provider_prefixes(list_external_models(settings))
    return tuple(
        name
        for name in environ
        if configured_prefixes
        and name.startswith(configured_prefixes)
        and not (needed_prefixes and name.startswith(needed_prefixes))
    )
