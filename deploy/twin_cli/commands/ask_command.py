"""`twin ask`: one question to the twin, with its sources, cost and trace id.

Belongs here: the command's output. Does not belong here: talking to the endpoint
(`endpoint_client.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from twin_cli.commands.author_progress import EndpointAnswer
from twin_cli.commands.endpoint_client import ask, make_client
from twin_cli.commands.presentation import sources_text
from twin_cli.commands.subject import choose_author
from twin_resources.processes.endpoints import read_endpoints
from twin_resources.settings import Settings


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
    """Ask and print; returns the exit code.

    Args:
        model: overrides `twin/<author>`; an alias alone (`@base`) is put behind it.
        stream: print while it is written; not with `as_json`, which prints one object at the end.

    Raises:
        TwinError: no stack, no such author, or the gateway refused.
    """
    endpoints = read_endpoints(settings.home)
    if not model or model.startswith("@"):
        model = f"twin/{choose_author(settings, author).slug}{model}"
    client = make_client(endpoints.gateway, endpoints.gateway_key)

    def write(piece: str) -> None:
        console.print(piece, end="", markup=False)

    streams = stream and not as_json
    answer = ask(client, question, model=model, on_text=write if streams else None)
    if as_json:
        console.print_json(json.dumps(answer_document(answer, model=model), ensure_ascii=False))
        return 0
    if streams:
        console.print()
    else:
        console.print(answer.text, markup=False)
    console.print()
    console.print(sources_text([answer]), markup=False, style="dim")
    cost = "unknown" if answer.cost_usd is None else f"${answer.cost_usd:.6f}"
    facts = [
        f"version {answer.version or 'unknown'}",
        f"{answer.seconds:.1f} s",
        f"cost {cost}",
        f"trace {answer.trace_id or 'none'}",
    ]
    if answer.degraded:
        facts.append(f"degraded: {answer.degraded}")
    console.print(", ".join(facts), markup=False, style="dim")
    if told := release_text(answer):
        console.print(told, markup=False, style="dim")
    if answer.disclosure:
        console.print(answer.disclosure, markup=False, style="dim")
    return 0


def release_text(answer: EndpointAnswer) -> str:
    """What the version is released for, and how its prose can be had where it is not shown."""
    if not answer.release:
        return ""
    told = f"released for {answer.release}"
    if answer.draft:
        return f"a draft; {told}"
    model = answer.prose.get("model")
    return f"{told}; a draft: --model @{model.rpartition('@')[2]}" if model else told


def answer_document(answer: EndpointAnswer, *, model: str) -> dict[str, Any]:
    """What `twin ask --json` prints; its keys stay (deploy/docs/command.md)."""
    return {
        "question": answer.question,
        "model": model,
        "text": answer.text,
        "answer": answer.kind,
        "quotes": list(answer.quotes),
        "nearest": list(answer.nearest),
        "sources": list(answer.sources),
        "version": answer.version,
        "trace_id": answer.trace_id,
        "seconds": round(answer.seconds, 3),
        "cost_usd": answer.cost_usd,
        "degraded": answer.degraded,
        "disclosure": answer.disclosure,
        "release": answer.release,
        "prose": answer.prose,
        "draft": answer.draft,
    }
