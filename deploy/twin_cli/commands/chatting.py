"""`twin chat`: the chat page, started when it is wanted, and a link that opens it once.

Belongs here: starting the program, waiting for it, the link. Does not belong here: the page
(`twin_resources/gateway/chat`).
"""
# pyright: strict

from __future__ import annotations

import webbrowser
from collections.abc import Callable

from twin_cli.commands.services import stack_in_use
from twin_resources.errors import TwinError
from twin_resources.gateway.chat.links import make_link
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.programs import StackEnded, service_is_ready, urls, wait_until
from twin_resources.processes.stack import Stack
from twin_resources.settings import Settings


def run_chat(settings: Settings, *, open_browser: bool, log: Callable[[str], object]) -> int:
    """Print (or open) a link; returns the exit code.

    Raises:
        TwinError: no stack runs, or the page does not come up.
    """
    stack = stack_in_use(settings)
    link = make_link(stack.settings, ready_page(stack))
    log(f"open within ten minutes, once: {link}")
    if open_browser:
        webbrowser.open(link)
    return 0


def ready_page(stack: Stack) -> str:
    """The address of the page, started where it does not run.

    Raises:
        TwinError: it does not come up; shows the end of its log.
    """
    if not stack.supervisor.states()["chat"].is_up:
        stack.supervisor.start_program("chat")
    addresses = urls(stack.settings)
    dagster = DagsterHTTP.of_home(stack.settings)
    try:
        wait_until(
            stack,
            lambda: service_is_ready(stack.settings, "chat", dagster=dagster),
            program="chat",
        )
    except StackEnded:
        raise
    except TwinError:
        stack.supervisor.stop_program("chat")  # nobody waits for it any more
        raise
    return addresses["chat"]
