"""Find the address and cost of a model configured for the home (teacher, judge).

Scope: deriving both from the LiteLLM name and the environment, and the pause before a retry.
Out of scope: asking the model (`paid_completion.py`), permission to send it posts
(`consent.py`), the account (`account.py`).

LiteLLM finds a server's address in the environment.
Names: https://docs.litellm.ai/docs/providers
"""
# pyright: strict

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from twin_resources.errors import TwinError
from twin_resources.processes.child_environment import parse_provider
from twin_resources.storage.weights.answer_model import is_remote

Cost = Literal["priced", "free", "unknown"]
MAX_PAUSE_S = 30.0

# The environment variables in which LiteLLM looks for an address, by provider and in its order.
# Other providers have no entry, because LiteLLM may not read the variable named after them.
_ADDRESS_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "openai": ("OPENAI_BASE_URL", "OPENAI_API_BASE"),
    "anthropic": ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
    "hosted_vllm": ("HOSTED_VLLM_API_BASE",),
    "lm_studio": ("LM_STUDIO_API_BASE",),
    "llamafile": ("LLAMAFILE_API_BASE",),
    "ollama": ("OLLAMA_API_BASE",),
    "ollama_chat": ("OLLAMA_API_BASE",),
}
# The addresses that LiteLLM uses if no variable is set.
_DEFAULT_ADDRESSES: Mapping[str, str] = {
    "llamafile": "http://127.0.0.1:8080/v1",
    "ollama": "http://localhost:11434",
    "ollama_chat": "http://localhost:11434",
}
_SELF_HOSTED_PROVIDERS = frozenset(_ADDRESS_VARIABLES) - {"openai", "anthropic"}


def server_address(model: str, environ: Mapping[str, str]) -> str:
    """Return the address of the model's server, or "" if it is unknown or the provider's own."""
    provider = parse_provider(model)
    addresses = [
        environ[name] for name in _ADDRESS_VARIABLES.get(provider, ()) if environ.get(name)
    ]
    return addresses[0] if addresses else _DEFAULT_ADDRESSES.get(provider, "")


def is_model_remote(model: str, environ: Mapping[str, str]) -> bool:
    """Return whether text for this model leaves the machine; true if its address is unknown."""
    address = server_address(model, environ)
    return not address or is_remote(address)


def classify_cost(model: str, environ: Mapping[str, str]) -> Cost:
    """Return whether an answer costs money according to LiteLLM's price map.

    A self-hosted server without a price in the map is free. Self-hosted servers are vLLM, Ollama
    and similar, and any address on this machine or in a private network. For any other server
    without a price, the cost is unknown.
    """
    from twin_resources.access.paid_budget import answer_price_usd

    try:
        usd = answer_price_usd(model, prompt_tokens=1_000_000, answer_tokens=1_000_000)
    except TwinError:
        return "free" if _is_self_hosted(model, environ) else "unknown"
    return "priced" if usd > 0 else "free"


def retry_delay_s(error: BaseException, *, attempt_count: int, initial_delay_s: float) -> float:
    """Return the seconds until the next retry: the server's `retry-after`, or exponential backoff.

    Args:
        error: LiteLLM's error of the last attempt.
        attempt_count: number of attempts so far, at least 1.
        initial_delay_s: pause after the first attempt, in seconds.
    """
    headers: Any = getattr(error, "litellm_response_headers", None) or {}
    retry_after = str(headers.get("retry-after", ""))
    backoff_s = initial_delay_s * 2 ** (attempt_count - 1)
    return min(float(retry_after) if retry_after.isdigit() else backoff_s, MAX_PAUSE_S)


def _is_self_hosted(model: str, environ: Mapping[str, str]) -> bool:
    host = urlsplit(server_address(model, environ)).hostname or ""
    if not host:
        return False
    if parse_provider(model) in _SELF_HOSTED_PROVIDERS:
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:  # a host name; one without a dot is in the local network
        return "." not in host or host.endswith((".local", ".internal", ".lan"))
