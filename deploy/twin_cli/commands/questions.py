"""Run `twin ask`: send a question to the endpoint as any other client does.

Scope: one question with the official `openai` client, and the output.
Out of scope: retrieval, prompts and routing (the gateway).
Source: https://github.com/openai/openai-python
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from rich.console import Console

from twin_cli.commands.presentation import format_sources
from twin_cli.commands.subject import choose_author
from twin_resources.errors import TwinError
from twin_resources.processes.endpoints import find_gateway
from twin_resources.registry.route_names import FRONT_DESK
from twin_resources.settings import Settings
from twin_resources.wait_limits import MAX_WORKING_S

if TYPE_CHECKING:
    from openai import OpenAI


@dataclass(frozen=True)
class EndpointAnswer:
    """One answer from the endpoint, with the `twin` field of the response.

    Attributes:
        sources: the supporting posts, each with `chunk_id`, `document_id`, `title` and `url`.
        version: `base`, or a version such as `v3`.
        cost_usd: cost in US dollars.
        seconds: time from the question to the last word.
        kind: `quote`, `quote_and_voice`, `voice` or `not_found`, or empty if unknown.
        quotes: the author's own sentences in the answer, best first; from the gateway's `twin`
            field, as are the attributes below.
        nearest: the closest passages if nothing was found.
        release, prose, draft: the version's released forms, the gate's result for its prose, and
            why this answer is a draft.
        digital_source_type: IPTC's term if a model wrote in the answer, or empty.
        dates: the dates of posts that the question was understood to name, or None.
    """

    question: str
    text: str
    sources: Sequence[dict[str, Any]] = ()
    trace_id: str = ""
    version: str = ""
    cost_usd: float | None = None
    degraded: str = ""
    disclosure: str = ""
    seconds: float = 0.0
    kind: str = ""
    quotes: Sequence[dict[str, Any]] = ()
    nearest: Sequence[dict[str, Any]] = ()
    release: str = ""
    prose: dict[str, Any] = field(default_factory=dict[str, Any])
    draft: dict[str, Any] | None = None
    digital_source_type: str = ""
    dates: dict[str, Any] | None = None


def make_client(url: str, key: str) -> OpenAI:
    """Return a client for the gateway at `url` (ending in `/v1`) that ignores proxy variables."""
    import httpx
    from openai import OpenAI

    transport = httpx.Client(trust_env=False, timeout=MAX_WORKING_S)
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
        model: `twin/<author>`, or one of its aliases (`@base`, `@stable`).
        on_text: function called with each piece of a streamed answer. Without it, the answer is
            not streamed.

    Raises:
        TwinError: the gateway cannot be reached, or it refuses the key, the model or the question.
    """
    started_at = time.monotonic()
    messages: Any = [{"role": "user", "content": question}]
    with _translate_client_errors(client, model):
        if on_text is None:
            completion = client.chat.completions.create(model=model, messages=messages)
            text = completion.choices[0].message.content or ""
            twin_fields: dict[str, Any] = (completion.model_extra or {}).get("twin") or {}
        else:
            text, twin_fields = _stream_answer(client, messages, model=model, on_text=on_text)
    values = twin_fields | {
        "question": question,
        "text": text.strip(),
        "seconds": time.monotonic() - started_at,
        "kind": twin_fields.get("answer"),
    }
    known_values: dict[str, Any] = {
        field.name: values[field.name]
        for field in fields(EndpointAnswer)
        if values.get(field.name) is not None
    }
    return EndpointAnswer(**known_values)


def _stream_answer(
    client: OpenAI, messages: Any, *, model: str, on_text: Callable[[str], object]
) -> tuple[str, dict[str, Any]]:
    text_pieces: list[str] = []
    twin_fields: dict[str, Any] = {}
    with client.chat.completions.create(model=model, messages=messages, stream=True) as stream:
        for chunk in stream:
            twin_fields = (chunk.model_extra or {}).get("twin") or twin_fields
            for choice in chunk.choices:
                if choice.delta.content:
                    text_pieces.append(choice.delta.content)
                    on_text(choice.delta.content)
    return "".join(text_pieces), twin_fields


@contextmanager
def _translate_client_errors(client: OpenAI, model: str) -> Generator[None]:
    import openai

    action = f"ask {model} at {client.base_url}"
    try:
        yield
    except openai.AuthenticationError as error:
        raise TwinError(
            action,
            found="the gateway refuses the key (401)",
            next_step="use `gateway_key` of endpoints.json, or `source .twin/env`",
        ) from error
    except openai.APITimeoutError as error:
        raise TwinError(
            action,
            found=f"no answer within {MAX_WORKING_S} s",
            next_step="see `twin status` and models.log; try a smaller model",
        ) from error
    except openai.APIConnectionError as error:
        raise TwinError(
            action,
            found="the gateway does not respond",
            next_step="see `twin status`, or start the stack with `twin up`",
        ) from error
    except openai.APIStatusError as error:
        raise TwinError(
            action,
            found=f"{error.status_code}: {_read_error_message(error.body) or error.message}",
            next_step="follow the message; `twin versions` lists the served versions",
        ) from error


def _read_error_message(body: Any) -> str:
    if isinstance(body, dict):
        error_fields: dict[str, Any] = body  # pyright: ignore[reportUnknownVariableType]
        return str(error_fields.get("message", ""))
    return ""


def run_ask(
    settings: Settings,
    question: str,
    *,
    author: str,
    model: str,
    stream: bool,
    console: Console,
    as_json: bool = False,
) -> int:
    """Ask one question and print the answer; return the exit code.

    Args:
        model: replaces `twin/<author>`; a bare alias (`@base`) is appended to it.
        stream: whether to print the answer as it is written; with `as_json`, one object is printed
            at the end instead.

    Raises:
        TwinError: no stack is running, the author does not exist, or the gateway refuses.
    """
    (url, key), model = find_gateway(settings), complete_model(settings, author, model)
    client = make_client(url, key)

    def print_piece(piece: str) -> None:
        console.print(piece, end="")

    is_streaming = stream and not as_json
    answer = ask(client, question, model=model, on_text=print_piece if is_streaming else None)
    if as_json:
        console.print_json(data=build_answer_document(answer, model=model))
        return 0
    if is_streaming:
        console.print()
    else:
        console.print(answer.text)
    console.print()
    is_front_desk_answer = answer.version == FRONT_DESK  # no posts were searched
    if not is_front_desk_answer and (sources := format_sources(answer)):
        console.print(sources, style="dim")
    cost = "unknown" if answer.cost_usd is None else f"${answer.cost_usd:.6f}"
    details = [
        f"version {answer.version or 'unknown'}",
        f"{answer.seconds:.1f} s",
        f"cost {cost}",
        f"trace {answer.trace_id or 'none'}",
    ]
    if answer.degraded:
        details.append(f"degraded: {answer.degraded}")
    console.print(", ".join(details), style="dim")
    if not is_front_desk_answer and (release_note := format_release(answer)):
        console.print(release_note, style="dim")
    if answer.disclosure:
        console.print(answer.disclosure, style="dim")
    return 0


def complete_model(settings: Settings, author: str, model: str) -> str:
    """Return a model's full name, such as `twin/ada@base` for `@base`; by default `twin/ada`."""
    if model and not model.startswith("@"):
        return model
    return f"twin/{choose_author(settings, author).slug}{model}"


def format_release(answer: EndpointAnswer) -> str:
    """Return the version's released answer forms, and how to request its unreleased prose."""
    if not answer.release:
        return ""
    release_note = f"released for {answer.release}"
    if answer.draft:
        return f"a draft; {release_note}"
    model = answer.prose.get("model")
    return (
        f"{release_note}; for a draft: --model @{model.rpartition('@')[2]}"
        if model
        else release_note
    )


def build_answer_document(answer: EndpointAnswer, *, model: str) -> dict[str, Any]:
    """Return the `twin ask --json` object; its keys are stable (deploy/docs/json.md)."""
    document = asdict(answer) | {"model": model, "seconds": round(answer.seconds, 3)}
    document["answer"] = document.pop("kind")
    return document
