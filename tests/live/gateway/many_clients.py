"""Eight clients of other people's making, each asking one question of one gateway.

Belongs here: how each is called, and the text that it gives back.
Does not belong here: what an API promises each of them (`test_gateway_clients.py`).

Two of them cannot run here and stand as the requests that they send (`recorded_requests.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.live.gateway import recorded_requests as recorded
from tests.live.gateway.stack import Stack
from twin_resources.gateway.batches.answers import Journal
from twin_resources.gateway.batches.completing import complete
from twin_resources.gateway.batches.questions import BatchQuestion

Client = Callable[[Stack, str, str, str], str]
"""(gateway, key, model, question) → the answer's text."""


def openai_chat(stack: Stack, key: str, model: str, question: str) -> str:
    answer = stack.client(key).chat.completions.create(
        model=model, messages=[{"role": "user", "content": question}]
    )
    return answer.choices[0].message.content or ""


def openai_responses(stack: Stack, key: str, model: str, question: str) -> str:
    return stack.client(key).responses.create(model=model, input=question).output_text


def raw_stream(stack: Stack, key: str, model: str, question: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": question}], "stream": True}
    return _text(stack.post(body, key=key))


def langchain(stack: Stack, key: str, model: str, question: str) -> str:
    import langchain_openai

    chat = langchain_openai.ChatOpenAI(
        model=model,
        base_url=f"{stack.url}/v1",
        api_key=key,  # pyright: ignore[reportArgumentType]
        max_retries=0,
    )
    return "".join(str(piece.content) for piece in chat.stream([("human", question)]))


def litellm_client(stack: Stack, key: str, model: str, question: str) -> str:
    import litellm

    answer: Any = litellm.completion(
        model=f"openai/{model}",
        api_base=f"{stack.url}/v1",
        api_key=key,
        messages=[{"role": "user", "content": question}],
        num_retries=0,
    )
    return answer.choices[0].message.content


def open_webui(stack: Stack, key: str, model: str, question: str) -> str:
    return _text(stack.post(_recorded(recorded.OPEN_WEBUI, model, question), key=key))


def librechat(stack: Stack, key: str, model: str, question: str) -> str:
    return _text(stack.post(_recorded(recorded.LIBRECHAT, model, question), key=key))


def batch_of(folder: Path) -> Client:
    """`twin batch`, a file an answer in that folder."""

    def ask(stack: Stack, key: str, model: str, question: str) -> str:
        out = folder / f"{abs(hash(question))}.jsonl"
        row = BatchQuestion("0", ({"role": "user", "content": question},), "", {})
        journal = Journal(out)
        complete([row], journal, url=f"{stack.url}/v1", key=key, model=model, width=1)
        journal.finish([row.fingerprint(model)])
        return str(json.loads(out.read_text(encoding="utf-8"))["answer"])

    return ask


def llm_of(folder: Path) -> Client:
    """The program `llm`, its settings in that folder."""

    def ask(stack: Stack, key: str, model: str, question: str) -> str:
        # without the name of a key `llm` sends none, whatever `--key` says
        models = (
            f"- model_id: mara\n  model_name: {model}\n  api_base: {stack.url}/v1\n"
            "  api_key_name: twin\n"
        )
        (folder / "extra-openai-models.yaml").write_text(models, encoding="utf-8")
        ended = subprocess.run(
            [Path(sys.executable).parent / "llm", "-m", "mara", "--key", key, question],
            env=os.environ | {"LLM_USER_PATH": str(folder), "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=240,  # a process that imports for seconds, beside others
            check=True,
        )
        return ended.stdout.strip()

    return ask


def many_clients(folder: Path) -> Mapping[str, Client]:
    """By name; `llm` is a process of its own for each question, and the slowest."""
    return {
        "openai for Python": openai_chat,
        "openai for Python, responses": openai_responses,
        "a stream by hand": raw_stream,
        "langchain-openai": langchain,
        "LiteLLM": litellm_client,
        "Open WebUI's request": open_webui,
        "LibreChat's request": librechat,
        "twin batch": batch_of(folder),
        "llm": llm_of(folder),
    }


def _recorded(body: Mapping[str, Any], model: str, question: str) -> dict[str, Any]:
    *before, last = body["messages"]
    content = (
        [{"type": "text", "text": question}] if isinstance(last["content"], list) else question
    )
    return {**body, "model": model, "messages": [*before, last | {"content": content}]}


def _text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines()]
    assert "[DONE]" in lines
    pieces = [json.loads(line) for line in lines if line.startswith("{")]
    deltas = [choice["delta"] for piece in pieces for choice in piece["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)
