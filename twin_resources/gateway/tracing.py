"""What a span of an answer says: a list of attributes that is complete, so that nothing else gets
out.

Belongs here: the attributes of the generation span, built from the record of the request, and the
watch over the trace store.
Does not belong here: LiteLLM's own attributes. They hold client IP, headers, user agent and key
hash; the logger in `plugin.py` writes these attributes instead of stripping those.

Attribute names: https://langfuse.com/integrations/native/opentelemetry
"""
# pyright: strict

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from twin_resources.gateway.answering import Answering
from twin_resources.gateway.config import TraceStore

if TYPE_CHECKING:
    import httpx

WATCH_LOCAL_S = 2.0
WATCH_REMOTE_S = 30.0  # a cloud's limit on API calls is not for us to use up


def span_attributes(
    answering: Answering,
    *,
    messages: Sequence[Mapping[str, Any]],
    answer: str,
    usage: Mapping[str, int],
    model_parameters: Mapping[str, Any],
    first_token_at: datetime | None = None,
    error: str = "",
) -> dict[str, str | bool]:
    """Every attribute of the generation span of one answer.

    Args:
        messages: the rendered prompt.
        answer: the text that came back; empty when it failed.
        usage: `input`, `output` and `total` tokens.
        model_parameters: sampling as it was sent to the model.
        first_token_at: when a stream's first token came, UTC.
        error: name of the exception when the call failed.
    """
    metadata = answering.trace_metadata()
    attributes: dict[str, str | bool] = {
        "langfuse.observation.type": "generation",
        # Its parent exists only to carry our trace id.
        "langfuse.internal.as_root": True,
        "langfuse.observation.model.name": answering.chosen.server_key,
        "langfuse.observation.input": _json(messages),
        "langfuse.observation.model.parameters": _json(model_parameters),
        "langfuse.trace.name": f"twin/{answering.asked.author}",
        "langfuse.version": answering.chosen.version,
        "user.id": answering.reader,
    }
    if answer:
        attributes["langfuse.observation.output"] = _json({"role": "assistant", "content": answer})
    if usage:
        attributes["langfuse.observation.usage_details"] = _json(usage)
    if answering.cost_usd is not None:
        attributes["langfuse.observation.cost_details"] = _json({"total": answering.cost_usd})
    if first_token_at is not None:
        started = first_token_at.isoformat()
        attributes["langfuse.observation.completion_start_time"] = _json(started)
    if error:
        attributes["langfuse.observation.level"] = "ERROR"
        attributes["langfuse.observation.status_message"] = error
    for name, value in metadata.items():
        attributes[f"langfuse.trace.metadata.{name}"] = value
        attributes[f"langfuse.observation.metadata.{name}"] = value
    return attributes


def otlp_headers(store: TraceStore) -> dict[str, str]:
    """Headers of an export: the store's key pair, and Langfuse's current ingestion path."""
    pair = base64.b64encode(f"{store.public_key}:{store.secret_key}".encode()).decode()
    return {"Authorization": f"Basic {pair}", "x-langfuse-ingestion-version": "4"}


def otlp_address(store: TraceStore) -> str:
    """Where spans are posted, without the signal's `/v1/traces`."""
    return f"{store.host}/api/public/otel"


class TraceWatch:
    """Asks the trace store whether traces would arrive now.

    Asks for the projects of the key pair, so that a wrong key is noticed as well as a dead server.
    """

    def __init__(self, store: TraceStore) -> None:
        self._store = store
        self._client: httpx.AsyncClient | None = None

    async def problem(self) -> str:
        """Why traces would not arrive, as a short clause; empty when they would."""
        import httpx

        if self._client is None:
            # Kept: a new one loads all certificates, 20 CPU ms on the loop that serves requests.
            self._client = httpx.AsyncClient(
                base_url=self._store.host,
                auth=(self._store.public_key, self._store.secret_key),
                timeout=2.0,
                trust_env=not _is_local(self._store),
            )
        try:
            answer = await self._client.get("/api/public/projects")
        except httpx.HTTPError as error:
            name = type(error).__name__
            return f"trace store unreachable ({name}): this answer may leave no trace"
        if answer.status_code != 200:
            return f"trace store answers {answer.status_code}: this answer may leave no trace"
        return ""

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.aclose()


def watch_seconds(store: TraceStore) -> float:
    """How often the trace store is asked."""
    return WATCH_LOCAL_S if _is_local(store) else WATCH_REMOTE_S


def _is_local(store: TraceStore) -> bool:
    return store.host.startswith(("http://127.0.0.1", "http://localhost"))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
