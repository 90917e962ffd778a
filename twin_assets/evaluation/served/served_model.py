"""What the served model says: answers with their log-probabilities over the OpenAI interface.

Belongs here: asking a running server, or several that serve the same model. Does not belong here:
how a server starts (`model_server.py`), judging the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx

from twin_resources.errors import TwinError
from twin_resources.serving.model_server import RunningServer

ALTERNATIVES = 5
AT_ONCE = 2  # requests in flight at one server: as many as a server of ours answers side by side

Serve = Callable[[], AbstractContextManager[RunningServer]]


@dataclass(frozen=True)
class ServedAnswer:
    """One greedy answer.

    Attributes:
        text: as a reader would get it.
        tokens: ids of the answer's tokens.
        log_probabilities: for each token the most probable ids with their natural log-probability.
        seconds: from the request to the end of the answer.
    """

    text: str
    tokens: tuple[int, ...]
    log_probabilities: tuple[Mapping[int, float], ...]
    seconds: float = 0.0


def ask(
    server: RunningServer,
    prompts: Sequence[Sequence[Mapping[str, str]]],
    *,
    max_tokens: int,
    at_once: int = AT_ONCE,
    frequency_penalty: float = 0.0,
    advance: Callable[[int], object] = lambda _answers: None,
    timeout_s: float = 120.0,
) -> list[ServedAnswer]:
    """Ask every prompt once, greedily.

    Args:
        prompts: messages each.
        max_tokens: of an answer.
        at_once: requests in flight.
        frequency_penalty: of the choice of tokens; their log-probabilities are those before it.
        advance: called with 1 after each answer.

    Raises:
        TwinError: the server refuses, or reports no token ids (llama.cpp and vLLM do).
    """
    headers = {"Authorization": f"Bearer {server.key}"} if server.key else {}
    with httpx.Client(headers=headers, timeout=timeout_s, trust_env=False) as client:

        def one(prompt: Sequence[Mapping[str, str]]) -> ServedAnswer:
            body = _body(server, prompt, max_tokens=max_tokens)
            if frequency_penalty:
                body["frequency_penalty"] = frequency_penalty
            return _ask(client, server, body)

        with ThreadPoolExecutor(at_once) as pool:
            answers: list[ServedAnswer] = []
            for answer in pool.map(one, prompts):
                answers.append(answer)
                advance(1)
            return answers


def ask_several(
    serve: Serve,
    prompts: Sequence[Sequence[Mapping[str, str]]],
    *,
    servers: int,
    max_tokens: int,
    frequency_penalty: float = 0.0,
    advance: Callable[[int], object] = lambda _answers: None,
) -> list[ServedAnswer]:
    """As `ask`, the prompts dealt in turn to servers that run for that long.

    Args:
        serve: starts one server of the model.
        servers: how many at the same time; each uses half of the cores.
    """

    def one(turn: int) -> list[ServedAnswer]:
        with serve() as server:
            return ask(
                server,
                prompts[turn::count],
                max_tokens=max_tokens,
                frequency_penalty=frequency_penalty,
                advance=advance,
            )

    count = max(1, min(servers, len(prompts)))
    with ThreadPoolExecutor(count) as pool:
        dealt = list(pool.map(one, range(count)))
    return [dealt[position % count][position // count] for position in range(len(prompts))]


def _body(
    server: RunningServer, prompt: Sequence[Mapping[str, str]], *, max_tokens: int
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": server.alias,
        "messages": list(prompt),
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": ALTERNATIVES,
    }
    if server.pid is None:  # not ours: vLLM gives ids only when asked
        body["return_tokens_as_token_ids"] = True
    return body


def _ask(client: httpx.Client, server: RunningServer, body: Mapping[str, Any]) -> ServedAnswer:
    began = monotonic()
    try:
        answer = client.post(f"{server.url}/chat/completions", json=body)
        answer.raise_for_status()
        seconds = monotonic() - began
        choice = answer.json()["choices"][0]
        # an answer that ends at once has no tokens, and llama.cpp then leaves `logprobs` out
        content = (choice.get("logprobs") or {}).get("content") or []
        if choice["message"]["content"] and not content:
            raise KeyError("logprobs")
        return ServedAnswer(
            text=choice["message"]["content"] or "",
            tokens=tuple(_token_id(entry) for entry in content),
            log_probabilities=tuple(
                {_token_id(other): other["logprob"] for other in entry["top_logprobs"]}
                for entry in content
            ),
            seconds=seconds,
        )
    except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
        raise TwinError(
            f"ask {server.alias} at {server.url} for log-probabilities",
            found=f"{type(error).__name__}: {error}",
            next_step="use llama.cpp's server or vLLM, which report token ids, and read its log",
        ) from error


def _token_id(entry: Mapping[str, Any]) -> int:
    """llama.cpp: an `id` beside the text; vLLM: the text is `token_id:<id>`."""
    if "id" in entry:
        return int(entry["id"])
    return int(str(entry["token"]).removeprefix("token_id:"))
