"""Requests of lm_eval, copied from its source code.

Scope: the request bodies. Out of scope: the gateway's responses (`test_gateway_clients.py`), chat
programs (`recorded_sessions.py`).

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
