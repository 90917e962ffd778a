"""Requests of chat programs that cannot run here, copied from the programs' source code.

Scope: one request body for each program, with the version of the source.
Out of scope: the gateway's responses (`test_gateway_clients.py`).

Open WebUI (backend/open_webui/routers/openai.py, as of 2026) removes metadata, always requests the
usage of a stream, and sends the reasoning effort as an object. It requests titles and tags with one
user message, without streaming.
LibreChat (packages/api/src/endpoints/openai/llm.ts, as of 2026) uses LangChain's JavaScript client,
with the reader's id as `user`, the instructions as a system message, and optional tools.
lm_eval (lm_eval/models/openai_completions.py, 0.4.9) has `local-chat-completions` and
`local-completions`; the second requests likelihoods with `echo` and `logprobs`.
"""

from __future__ import annotations

from typing import Any

QUESTION = "How much oil does a clock need?"
TOOL = {
    "type": "function",
    "function": {
        "name": "execute_code",
        "description": "Runs code.",
        "parameters": {"type": "object", "properties": {"code": {"type": "string"}}},
    },
}

OPEN_WEBUI: dict[str, Any] = {
    "stream": True,
    "model": "twin/ann",
    "messages": [
        {"role": "system", "content": "You are a helpful assistant. Today is Saturday."},
        {"role": "user", "content": QUESTION},
    ],
    "stream_options": {"include_usage": True},
    "temperature": 0.3,
    "reasoning": {"effort": "low"},
    "logit_bias": {},
}


def _create_task(goal: str, schema: str) -> dict[str, Any]:
    """Return a request that Open WebUI sends by itself after a reader's first question."""
    history = f"<chat_history>\nUSER: {QUESTION}\nASSISTANT: One drop.\n</chat_history>"
    text = f"### Task:\n{goal}\n### Output:\nJSON format: {schema}\n### Chat History:\n{history}"
    return {
        "model": "twin/ann",
        "messages": [{"role": "user", "content": text}],
        "stream": False,
        "max_completion_tokens": 1000,
    }


OPEN_WEBUI_TASKS: dict[str, dict[str, Any]] = {
    "title": _create_task("Name the conversation in a few words.", '{ "title": "a title" }'),
    "tags": _create_task("Sort the conversation by broad tags.", '{ "tags": ["one", "two"] }'),
    "follow_ups": _create_task("Suggest what to ask next.", '{ "follow_ups": ["one?", "two?"] }'),
}
LIBRECHAT: dict[str, Any] = {
    "model": "twin/ann",
    "temperature": 0.3,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "n": 1,
    "user": "665f1c0e9b1d8a0012345678",
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "messages": [
        {"role": "system", "content": "Answer as a clockmaker."},
        {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
    ],
}
LM_EVAL_CHAT: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Answer the question."},
        {"role": "user", "content": QUESTION, "type": "text"},
    ],
    "model": "twin/ann",
    "max_tokens": 16,
    "temperature": 0,
    "stop": ["\n\n\n\n"],
    "seed": 1234,
}
LM_EVAL_COMPLETION: dict[str, Any] = {
    "prompt": [QUESTION],
    "model": "twin/ann",
    "max_tokens": 16,
    "temperature": 0,
    "stop": [],
    "seed": 1234,
}
