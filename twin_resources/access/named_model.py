"""A model that a person names for the home (teacher, judge): where it answers, and what it costs.

Scope: reading that off the LiteLLM name and the environment, and the pause before it is
asked again. Out of scope: asking it (`judges/asking.py`, the teacher), whose posts it may
see (`consent.py`), the account (`gateway/`).

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
from twin_resources.processes.child_environment import provider_of
from twin_resources.storage.weights.answer_model import is_far

Cost = Literal["priced", "free", "unknown"]
MAX_PAUSE_S = 30.0

# By provider the variables in which LiteLLM looks for an address, in its order. Of another provider
# none is believed: its name of a variable may be one that LiteLLM does not read.
_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "openai": ("OPENAI_BASE_URL", "OPENAI_API_BASE"),
    "anthropic": ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
    "hosted_vllm": ("HOSTED_VLLM_API_BASE",),
    "lm_studio": ("LM_STUDIO_API_BASE",),
    "llamafile": ("LLAMAFILE_API_BASE",),
    "ollama": ("OLLAMA_API_BASE",),
    "ollama_chat": ("OLLAMA_API_BASE",),
}
# Where LiteLLM looks without one.
_USUAL: Mapping[str, str] = {
    "llamafile": "http://127.0.0.1:8080/v1",
    "ollama": "http://localhost:11434",
    "ollama_chat": "http://localhost:11434",
}
_OWN_SERVERS = frozenset(_VARIABLES) - {"openai", "anthropic"}


def address_of_model(model: str, environ: Mapping[str, str]) -> str:
    """Address of the server that answers as `model`; empty: its provider's own, or unknown."""
    provider = provider_of(model)
    named = [environ[name] for name in _VARIABLES.get(provider, ()) if environ.get(name)]
    return named[0] if named else _USUAL.get(provider, "")


def leaves_machine(model: str, environ: Mapping[str, str]) -> bool:
    """Whether what is sent to this model goes to another machine; who cannot be located is far."""
    address = address_of_model(model, environ)
    return not address or is_far(address)


def cost_of(model: str, environ: Mapping[str, str]) -> Cost:
    """Whether an answer costs money, by LiteLLM's price map.

    A server of one's own without a price in the map is free: vLLM, Ollama and their like, or any
    address of this machine or a private network. Elsewhere a missing price is unknown.
    """
    from twin_resources.access.paid_budget import price_of

    try:
        usd = price_of(model, prompt_tokens=1_000_000, answer_tokens=1_000_000)
    except TwinError:
        return "free" if _is_own(model, environ) else "unknown"
    return "priced" if usd > 0 else "free"


def pause_s(error: BaseException, *, tries: int, first_s: float) -> float:
    """Seconds until it is asked again: what its server says, else twice as long each time.

    Args:
        error: of the last try, by LiteLLM.
        tries: so far, at least 1.
    """
    headers: Any = getattr(error, "litellm_response_headers", None) or {}
    wanted = str(headers.get("retry-after", ""))
    return min(float(wanted) if wanted.isdigit() else first_s * 2 ** (tries - 1), MAX_PAUSE_S)


def _is_own(model: str, environ: Mapping[str, str]) -> bool:
    host = urlsplit(address_of_model(model, environ)).hostname or ""
    if not host:
        return False
    if provider_of(model) in _OWN_SERVERS:
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:  # a name: those without a dot are of the own network
        return "." not in host or host.endswith((".local", ".internal", ".lan"))
