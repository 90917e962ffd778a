"""Call the gateway for the page: stream answers with their facts, and send feedback.

Scope: calls to the gateway with the page's own key, and stopping an answer that is no longer
needed.
Out of scope: widgets (`chat_tab.py`, `comparison_tab.py`). The gateway handles retrieval, routing
and prompts.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.wait_limits import MAX_WORKING_S

if TYPE_CHECKING:
    import httpx
    from openai import AsyncOpenAI
    from openai.types.model import Model as OpenAIModel

Message = Mapping[str, str]


@dataclass(frozen=True)
class PartialAnswer:
    """The part of an answer that has arrived so far.

    Attributes:
        text: the whole text up to now.
        facts: the answer's `twin` field; empty until the last piece.
    """

    text: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


class GatewayClient:
    """A client that calls the gateway with one key.

    Args:
        url: base URL of the gateway, which ends in `/v1`.
        key: gateway key with the role `reader`.
    """

    def __init__(self, url: str, key: str) -> None:
        import httpx
        from openai import AsyncOpenAI

        self._gateway_url = url.removesuffix("/v1")
        self._http: httpx.AsyncClient = httpx.AsyncClient(trust_env=False, timeout=MAX_WORKING_S)
        self._openai: AsyncOpenAI = AsyncOpenAI(
            base_url=url, api_key=key, http_client=self._http, max_retries=1
        )
        self._headers = {"Authorization": f"Bearer {key}"}

    async def list_model_names(self) -> list[str]:
        """Return the available model names: `twin/<author>` and its aliases.

        Raises:
            TwinError: the gateway does not respond.
        """
        return [model.id for model in await self._list_models()]

    async def list_authors_with_answer_model(self) -> set[str]:
        """Return the slugs of the authors for whom an answer model answers instead of a tuned one.

        Raises:
            TwinError: the gateway does not respond.
        """
        slugs: set[str] = set()
        for model in await self._list_models():
            facts: dict[str, Any] = (model.model_extra or {}).get("twin") or {}
            if facts.get("kind") == "answer_model":
                slugs |= set(group_aliases_by_author([model.id]))
        return slugs

    async def _list_models(self) -> list[OpenAIModel]:
        import openai

        try:
            return [model async for model in self._openai.models.list()]
        except openai.OpenAIError as error:
            raise _gateway_error("list the models", error) from error

    async def ask(self, model: str, messages: Sequence[Message]) -> AsyncGenerator[PartialAnswer]:
        """Stream the answer to the last message; closing the generator ends the request.

        Args:
            model: model name: `twin/<author>` or an alias.
            messages: messages with `role` and `content`, oldest first.

        Raises:
            TwinError: the gateway refuses or does not respond.
        """
        import httpx
        import openai

        text, facts = "", dict[str, Any]()
        request_messages: Any = [
            {"role": message["role"], "content": message["content"]} for message in messages
        ]
        try:
            stream = await self._openai.chat.completions.create(
                model=model, messages=request_messages, stream=True
            )
            async with stream:  # otherwise the connection stays open until garbage collection
                async for chunk in stream:
                    facts = (chunk.model_extra or {}).get("twin") or facts
                    for choice in chunk.choices:
                        text += choice.delta.content or ""
                    yield PartialAnswer(text)
        except (openai.OpenAIError, httpx.HTTPError) as error:
            raise _gateway_error(f"ask {model}", error) from error
        yield PartialAnswer(text.strip(), facts)

    async def give_feedback(self, trace_id: str, **feedback: str | float) -> None:
        """Send a vote, an edit or a preference, such as `thumb="up"` or `edit="a better answer"`.

        Raises:
            TwinError: the feedback was not accepted.
        """
        import httpx

        try:
            response = await self._http.post(
                f"{self._gateway_url}/twin/feedback",
                json={"trace_id": trace_id, **feedback},
                headers=self._headers,
            )
        except httpx.HTTPError as error:
            raise _gateway_error("send your feedback", error) from error
        if not response.is_success:
            sys.stderr.write(f"feedback: HTTP {response.status_code}: {response.text[:300]}\n")
            raise GatewayError(
                "send your feedback",
                found="Your feedback could not be stored; please try again in a minute.",
                next_step="see `twin logs gateway`",
            )


class AnswersInProgress:
    """The answers in progress, by browser session, so that a session can stop its own answers."""

    def __init__(self) -> None:
        self._stop_events: dict[str, set[asyncio.Event]] = {}

    def stop(self, session: str) -> None:
        """Stop all answers of this session."""
        for event in self._stop_events.get(session, ()):
            event.set()

    async def stream_until_stopped(
        self, session: str, answer: AsyncGenerator[PartialAnswer]
    ) -> AsyncIterator[PartialAnswer]:
        """Yield pieces until the answer ends or is stopped, then close the request.

        Stopping also cancels the wait for the next piece, because a slow model may pause for
        several seconds.
        """
        stop_event = asyncio.Event()
        self._stop_events.setdefault(session, set()).add(stop_event)
        stop_task = asyncio.ensure_future(stop_event.wait())
        next_piece: asyncio.Task[PartialAnswer | None] | None = None
        try:
            async with aclosing(answer):
                while not stop_event.is_set():
                    next_piece = asyncio.ensure_future(_read_next_piece(answer))
                    await asyncio.wait({next_piece, stop_task}, return_when=asyncio.FIRST_COMPLETED)
                    if not next_piece.done():
                        next_piece.cancel()
                        await asyncio.wait({next_piece})
                        return
                    piece = next_piece.result()
                    if piece is None:
                        return
                    yield piece
        finally:
            stop_task.cancel()
            if next_piece is not None and not next_piece.done():
                next_piece.cancel()
            session_events = self._stop_events.get(session, set())
            session_events.discard(stop_event)
            if not session_events:
                self._stop_events.pop(session, None)


async def _read_next_piece(answer: AsyncGenerator[PartialAnswer]) -> PartialAnswer | None:
    return await anext(answer, None)


class GatewayError(TwinError):
    """A failed call of the gateway; `found` is one sentence for the reader of the page."""


def _gateway_error(action: str, error: Exception) -> GatewayError:
    """Return the error for the reader, and log the whole text for the operator."""
    body: Any = getattr(error, "body", None)
    document: dict[str, Any] = body if isinstance(body, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    sys.stderr.write(f"{action}: {type(error).__name__}: {document.get('message') or error}\n")
    message = str(document.get("message") or "The twin does not answer; try again in a minute.")
    return GatewayError(
        action,
        found=message,
        next_step="see `twin status` and `twin logs gateway`",
    )


def group_aliases_by_author(models: Sequence[str]) -> dict[str, list[str]]:
    """Map each author slug to its aliases (`stable`, `base` …); "" lets the policy choose."""
    aliases_by_author: dict[str, list[str]] = {}
    for name in models:
        author, _, alias = name.removeprefix("twin/").partition("@")
        aliases_by_author.setdefault(author, []).append(alias)
    return {author: sorted(aliases) for author, aliases in sorted(aliases_by_author.items())}


def model_name(author: str, alias: str) -> str:
    """Return the model name `twin/<author>`, with `@<alias>` if an alias is given."""
    return f"twin/{author}@{alias}" if alias else f"twin/{author}"
