"""Choose a home's trace store: a Langfuse server, or the local store with the same API.

Scope: the store's address and keys. Out of scope: reading and writing traces (`client.py`), the
gateway's configuration (`gateway/config/proxy_config.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twin_resources.errors import TwinError
from twin_resources.settings import Secrets, Settings

if TYPE_CHECKING:
    import httpx

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class TraceStore:
    """The address and keys of a trace store.

    Attributes:
        is_embedded: whether the stack runs this store itself. A Langfuse on this machine is no
            embedded store.
    """

    host: str
    public_key: str
    secret_key: str
    is_embedded: bool = False

    def __repr__(self) -> str:
        return f"TraceStore({self.host})"

    def open_http_client(self, *, timeout_s: float) -> httpx.Client:
        """Return an HTTP client with the store's address and keys.

        Args:
            timeout_s: the time limit of one call, in seconds.
        """
        import httpx

        return httpx.Client(
            base_url=self.host,
            auth=(self.public_key, self.secret_key),
            timeout=timeout_s,
            # The environment's proxy is for external hosts.
            trust_env=httpx.URL(self.host).host not in LOOPBACK_HOSTS,
        )


def find_trace_store(settings: Settings, secrets: Secrets) -> TraceStore:
    """Return the trace store of this home.

    The address is always explicit, because LiteLLM and the Langfuse SDK default to different
    clouds.

    Raises:
        TwinError: some of the three LANGFUSE_ variables are set, but not all.
    """
    if settings.has_real_langfuse:
        host = settings.langfuse_host.rstrip("/")
        return TraceStore(host, settings.langfuse_public_key, settings.langfuse_secret_key)
    langfuse_settings = {
        "LANGFUSE_HOST": settings.langfuse_host,
        "LANGFUSE_PUBLIC_KEY": settings.langfuse_public_key,
        "LANGFUSE_SECRET_KEY": settings.langfuse_secret_key,
    }
    if any(langfuse_settings.values()):
        missing_names = ", ".join(name for name, value in langfuse_settings.items() if not value)
        raise TwinError(
            "find the trace store",
            found=f"an incomplete set of Langfuse settings, without {missing_names}",
            next_step="set all three LANGFUSE_ variables, or none for the local store",
        )
    host = f"http://127.0.0.1:{settings.traces_port}"
    return TraceStore(host, secrets.traces_public_key, secrets.traces_secret_key, is_embedded=True)
