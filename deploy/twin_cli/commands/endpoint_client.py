"""Asking the endpoint as any program would: with the official `openai` client.

Belongs here: one question, its answer with sources, and the client's errors in our words.
Does not belong here: retrieval, prompts and routing (the gateway has them).
Source: https://github.com/openai/openai-python
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from twin_cli.commands.author_progress import EndpointAnswer
from twin_resources.errors import TwinError
from twin_resources.longest_waits import MOST_WORKING_S

if TYPE_CHECKING:
    from openai import OpenAI


def make_client(url: str, key: str) -> OpenAI:
    """A client of the gateway at `url` (ends in `/v1`); proxies of the environment are not used."""
    import httpx
    from openai import OpenAI

    transport = httpx.Client(trust_env=False, timeout=MOST_WORKING_S)
    return OpenAI(base_url=url, api_key=key, http_client=transport, max_retries=2)


def ask(
    client: OpenAI,
    question: str,
    *,
    model: str,
    on_text: Callable[[str], object] | None = None,
) -> EndpointAnswer:
    """Ask one question.

    Args:
        model: `twin/<author>`, or an alias of it (`@base`, `@stable`).
        on_text: given each piece of a streamed answer; without it the answer comes whole.

    Raises:
        TwinError: the gateway is not there, refuses the key, the model or the question.
    """
    began = time.monotonic()
    messages: Any = [{"role": "user", "content": question}]
    with _readable_errors(client, model):
        if on_text is None:
            completion = client.chat.completions.create(model=model, messages=messages)
            text = completion.choices[0].message.content or ""
            facts: dict[str, Any] = (completion.model_extra or {}).get("twin") or {}
        else:
            text, facts = _stream(client, messages, model=model, on_text=on_text)
    return EndpointAnswer(
        question=question,
        text=text.strip(),
        sources=tuple(facts.get("sources") or ()),
        trace_id=facts.get("trace_id", ""),
        version=facts.get("version", ""),
        cost_usd=facts.get("cost_usd"),
        degraded=str(facts.get("degraded") or ""),
        disclosure=facts.get("disclosure", ""),
        seconds=time.monotonic() - began,
        kind=str(facts.get("answer") or ""),
        quotes=tuple(facts.get("quotes") or ()),
        nearest=tuple(facts.get("nearest") or ()),
        release=str(facts.get("release") or ""),
        prose=dict(facts.get("prose") or {}),
        draft=facts.get("draft"),
    )


def _stream(
    client: OpenAI, messages: Any, *, model: str, on_text: Callable[[str], object]
) -> tuple[str, dict[str, Any]]:
    pieces: list[str] = []
    facts: dict[str, Any] = {}
    with client.chat.completions.create(model=model, messages=messages, stream=True) as stream:
        for chunk in stream:
            facts = (chunk.model_extra or {}).get("twin") or facts
            for choice in chunk.choices:
                if choice.delta.content:
                    pieces.append(choice.delta.content)
                    on_text(choice.delta.content)
    return "".join(pieces), facts


@contextmanager
def _readable_errors(client: OpenAI, model: str) -> Generator[None]:
    import openai

    tried = f"ask {model} at {client.base_url}"
    try:
        yield
    except openai.AuthenticationError as error:
        raise TwinError(
            tried,
            found="the gateway refuses the key (401)",
            next_step="use `gateway_key` of endpoints.json, or `source .twin/env`",
        ) from error
    except openai.APITimeoutError as error:
        raise TwinError(
            tried,
            found=f"no answer within {MOST_WORKING_S} s",
            next_step="see `twin status` and models.log; try a smaller model",
        ) from error
    except openai.APIConnectionError as error:
        raise TwinError(
            tried, found="nothing answers there", next_step="see `twin status`; run `twin up`"
        ) from error
    except openai.APIStatusError as error:
        raise TwinError(
            tried,
            found=f"{error.status_code}: {_message(error.body) or error.message}",
            next_step="do what it says; `twin versions` tells what is served",
        ) from error


def _message(body: Any) -> str:
    if isinstance(body, dict):
        facts: dict[str, Any] = body  # pyright: ignore[reportUnknownVariableType]
        return str(facts.get("message", ""))
    return ""
