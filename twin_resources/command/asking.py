"""`twin ask`: one question to the twin, with its sources, cost and trace id.

Belongs here: the command's output. Does not belong here: talking to the endpoint
(`conversation.py`).
"""
# pyright: strict

from __future__ import annotations

from rich.console import Console

from twin_resources.command.conversation import ask, make_client
from twin_resources.command.presentation import sources_text
from twin_resources.command.subject import choose_author
from twin_resources.settings import Settings
from twin_resources.stack.endpoints import read_endpoints


def run_ask(
    settings: Settings, question: str, *, author: str, model: str, stream: bool, console: Console
) -> int:
    """Ask and print; returns the exit code.

    Args:
        model: overrides `twin/<author>`; an alias alone (`@base`) is put behind it.

    Raises:
        TwinError: no stack, no such author, or the gateway refused.
    """
    endpoints = read_endpoints(settings.home)
    if not model or model.startswith("@"):
        model = f"twin/{choose_author(settings, author).slug}{model}"
    client = make_client(endpoints.gateway, endpoints.gateway_key)

    def write(piece: str) -> None:
        console.print(piece, end="", markup=False)

    answer = ask(client, question, model=model, on_text=write if stream else None)
    if stream:
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
    if answer.disclosure:
        console.print(answer.disclosure, markup=False, style="dim")
    return 0
