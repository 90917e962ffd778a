"""What vLLM 0.32.0 answered to each request of ours: `vllm_answers.json`, and how it was asked.

`tests/live/serving/test_vllm.py` asks the real server again and compares;
`python -m tests.live.serving.real_vllm` writes the file anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from twin_resources.models.serving.adapter_routes import UNGUARDED_ROUTES

FILE = Path(__file__).with_name("vllm_answers.json")
BASE, NAME, MISSING = "tiny", "ada/v1-c1c1c1c1", "/no/such/adapter"
QUESTION = [{"role": "user", "content": "How much oil does a clock need?"}]
LONG_QUESTION = [{"role": "user", "content": "oil " * 2000}]


@dataclass(frozen=True)
class Case:
    """One request; `{name}`, `{path}` and `{missing}` in its body stand for the adapter's values.

    Attributes:
        key: whether the request has the server's key.
        body: JSON body, or None for an empty one.
    """

    name: str
    method: str
    path: str
    body: Mapping[str, Any] | None = None
    key: bool = True


def _chat(model: str, messages: Sequence[Mapping[str, str]], **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": messages, "max_tokens": 4, "temperature": 0.0, **fields}


LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
# In this order: a case finds the adapters that the earlier ones have left.
CASES = (
    Case("version", "GET", "/version", key=False),
    Case("health", "GET", "/health", key=False),
    Case("models without a key", "GET", "/v1/models", key=False),
    Case("models", "GET", "/v1/models"),
    Case("load route asked with GET", "GET", LOAD),
    Case("no such route", "POST", "/v1/no_such_route", {}),
    Case("load without a path", "POST", LOAD, {"lora_name": "{name}"}),
    Case("load a missing folder", "POST", LOAD, {"lora_name": "{name}", "lora_path": "{missing}"}),
    Case("load", "POST", LOAD, {"lora_name": "{name}", "lora_path": "{path}"}),
    Case("load again", "POST", LOAD, {"lora_name": "{name}", "lora_path": "{path}"}),
    Case("models with an adapter", "GET", "/v1/models"),
    Case(
        "chat",
        "POST",
        "/v1/chat/completions",
        _chat("{name}", QUESTION, logprobs=True, top_logprobs=2, return_tokens_as_token_ids=True),
    ),
    Case("chat as a stream", "POST", "/v1/chat/completions", _chat(BASE, QUESTION, stream=True)),
    Case("chat beyond the context", "POST", "/v1/chat/completions", _chat(BASE, LONG_QUESTION)),
    Case("chat with too long an answer", "POST", "/v1/chat/completions",
         _chat(BASE, QUESTION) | {"max_tokens": 4000}),
    Case("chat with an unknown model", "POST", "/v1/chat/completions", _chat("nobody", QUESTION)),
    Case("unload", "POST", UNLOAD, {"lora_name": "{name}"}),
    Case("unload again", "POST", UNLOAD, {"lora_name": "{name}"}),
    *(Case(f"open {path}", "POST", path, key=False) for path in UNGUARDED_ROUTES),
)  # fmt: skip
# Not recorded: what differs in each answer, and what nobody reads.
LEFT_OUT = {"id", "created", "system_fingerprint", "permission", "bytes"}


def ask(url: str, case: Case, *, key: str, base: str, path: str) -> dict[str, Any]:
    """Ask a server, and return status, media type and body in the form of the file.

    Args:
        url: base URL, which ends in `/v1`.
        base, path: folders of base model and adapter, `{base}` and `{path}` in the answer.
    """
    body = b""
    if case.body is not None:
        text = json.dumps(case.body)
        for mark, value in (("{name}", NAME), ("{path}", path), ("{missing}", MISSING)):
            text = text.replace(mark, value)
        body = text.encode()
    headers = {"Authorization": f"Bearer {key}"} if case.key else {}
    if body:
        headers["Content-Type"] = "application/json"
    response = httpx.request(
        case.method,
        url.removesuffix("/v1") + case.path,
        content=body,
        headers=headers,
        timeout=600,
        trust_env=False,
    )
    media_type = response.headers.get("content-type", "").partition(";")[0]
    content: Any = response.text
    if media_type == "application/json":
        content = response.json()
    elif media_type == "text/event-stream":
        content = [
            json.loads(line) if line.startswith("{") else line
            for line in response.text.replace("data: ", "").split("\n\n")
            if line
        ]
    text = json.dumps(_select_recorded(content))
    content = json.loads(text.replace(path, "{path}").replace(base, "{base}"))
    return {"status": response.status_code, "media_type": media_type, "body": content}


def _select_recorded(value: Any) -> Any:
    """Return a JSON value without `LEFT_OUT`, with numbers as far as two machines agree."""
    if isinstance(value, dict):
        names = LEFT_OUT - {"id"} if value.get("object") == "model" else LEFT_OUT
        return {key: _select_recorded(item) for key, item in value.items() if key not in names}
    if isinstance(value, list):
        return [_select_recorded(item) for item in value]
    return round(value, 2) if isinstance(value, float) else value


def read_answers() -> dict[str, dict[str, Any]]:
    """Return the recorded answers by the name of their case."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def write_answers(answers: Mapping[str, Mapping[str, Any]]) -> None:
    """Record answers."""
    FILE.write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
