"""`twin feedback`: what you think of an answer, sent as any reader would send it.

Belongs here: the command's arguments as one request to the endpoint, and its words.
Does not belong here: what feedback may contain and where it goes (`gateway/feedback.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from typing import Any, cast

from rich.console import Console

from twin_resources.errors import TwinError
from twin_resources.longest_waits import MOST_IDLE_S
from twin_resources.processes.endpoints import read_endpoints
from twin_resources.settings import Settings


def run_feedback(
    settings: Settings,
    trace_id: str,
    *,
    up: bool,
    down: bool,
    score: float | None,
    edit: str,
    console: Console,
    as_json: bool = False,
) -> int:
    """Send one feedback and print what was stored; returns the exit code.

    Args:
        trace_id: of the answer, as `twin ask` prints it.
        up, down, score: the vote; at most one of them.
        edit: how the answer should have been; empty: none.

    Raises:
        TwinError: no opinion or two of them, no stack, or the gateway refused.
    """
    body = feedback_body(trace_id, up=up, down=down, score=score, edit=edit)
    endpoints = read_endpoints(settings.home)
    stored = send_feedback(endpoints.gateway, endpoints.gateway_key, body)
    if as_json:
        document = {"trace_id": body["trace_id"], "stored": stored}
        console.print_json(json.dumps(document, ensure_ascii=False))
        return 0
    names = {"thumbs": "vote", "output": "edit"}
    kinds = " and ".join(names.get(kind, kind) for kind in (item["name"] for item in stored))
    console.print(f"stored: {kinds} on trace {trace_id}", markup=False)
    return 0


def feedback_body(
    trace_id: str, *, up: bool, down: bool, score: float | None, edit: str
) -> dict[str, Any]:
    """The request of one feedback.

    Raises:
        TwinError: no opinion, or more than one vote.
    """
    votes = [name for name, given in (("--up", up), ("--down", down)) if given]
    votes += ["--score"] if score is not None else []
    if len(votes) > 1 or not (votes or edit.strip()):
        raise TwinError(
            "send feedback",
            found=" and ".join(votes) if votes else "no opinion",
            next_step="give one of --up, --down and --score, or --edit TEXT, alone or beside it",
        )
    body: dict[str, Any] = {"trace_id": trace_id.strip()}
    if up or down:
        body["thumb"] = "up" if up else "down"
    if score is not None:
        body["score"] = score
    if edit.strip():
        body["edit"] = edit
    return body


def send_feedback(gateway: str, key: str, body: dict[str, Any]) -> list[dict[str, str]]:
    """POST it; gives the scores that were stored, as `{"id", "name"}`.

    Args:
        gateway: base URL for OpenAI clients; ends in `/v1`.
        body: see `gateway/feedback.py`.

    Raises:
        TwinError: nothing answers, or the gateway refused.
    """
    import httpx

    url = gateway.removesuffix("/v1") + "/twin/feedback"
    try:
        answer = httpx.post(
            url,
            json=body,
            headers={"Authorization": f"Bearer {key}"},
            timeout=MOST_IDLE_S,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise TwinError(
            f"send feedback to {url}",
            found=f"no answer ({type(error).__name__})",
            next_step="see `twin status`; run `twin up`",
        ) from error
    try:
        document: Any = answer.json()
    except ValueError as error:
        raise TwinError(
            f"send feedback to {url}",
            found=f"HTTP {answer.status_code} without JSON",
            next_step="see `twin status`: does the gateway listen there",
        ) from error
    if answer.status_code != 200:
        message = str(cast("dict[str, Any]", document).get("error", {}).get("message", ""))
        raise TwinError(
            f"send feedback to {url}",
            found=f"HTTP {answer.status_code}: {message}",
            next_step="do what it says, or see gateway.log",
        )
    return cast("list[dict[str, str]]", document["scores"])
