"""Run `twin open`: start a page if necessary, and print or open its link.

Scope: starting the page, waiting for it, creating the link, and detecting a screen.
Out of scope: the pages (`twin_resources/page`, Dagster).
"""
# pyright: strict

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import closing

from twin_cli.commands.services import require_stack, start_programs
from twin_resources.dagster_runs import build_lineage_link
from twin_resources.errors import TwinError
from twin_resources.page.links import make_dagster_link, make_link
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.endpoints import urls
from twin_resources.processes.programs import StackEndedError, is_service_ready, wait_until
from twin_resources.processes.stack import Stack
from twin_resources.settings import Settings


def start_page(stack: Stack) -> str:
    """Start the page if it is not running, and return its address.

    Raises:
        TwinError: the page does not start; the error shows the end of its log.
    """
    start_programs(stack, ["chat"])
    addresses = urls(stack.settings)
    dagster = DagsterHTTP.for_home(stack.settings)
    try:
        wait_until(
            stack,
            lambda: is_service_ready(stack.settings, "chat", dagster=dagster),
            program="chat",
        )
    except StackEndedError:
        raise
    except TwinError:
        stack.supervisor.stop_program("chat")  # it did not become ready in time
        raise
    return addresses["chat"]


PAGES = ("chat", "traces", "dagster")


def run_open(
    settings: Settings,
    page: str,
    *,
    log: Callable[[str], object],
    start_browser: Callable[[str], bool] | None = None,
) -> int:
    """Print a page's link and open it if there is a screen; return the exit code.

    Args:
        page: one of `PAGES`. Chat and traces are one page, which is started if necessary.
        start_browser: opens a link and returns whether it succeeded, or None for the system's
            browser, which is used only if `can_show_browser` is true.

    Raises:
        TwinError: the page does not exist, no stack is running, or the page does not start.
    """
    if page not in PAGES:
        raise TwinError(
            f"open {page!r}",
            found=f"the pages are {', '.join(PAGES)}",
            next_step="name one of them",
        )
    stack = require_stack(settings)
    link = create_page_link(stack, page)
    log(f"this link works once, within ten minutes: {link}")
    if start_browser is None:
        if not can_show_browser(os.environ, is_terminal=sys.stdout.isatty()):
            return 0
        start_browser = webbrowser.open
    if not start_browser(link):
        log("no browser could be started; open the link in a browser that reaches this machine")
    return 0


def create_page_link(stack: Stack, page: str) -> str:
    """Return the link that opens a page of this stack, once the page answers."""
    if page == "dagster":
        return _create_dagster_link(stack)
    return make_link(stack.settings, start_page(stack), view="" if page == "chat" else page)


def can_show_browser(
    environ: Mapping[str, str], *, is_terminal: bool, platform: str = sys.platform
) -> bool:
    """Return whether the user of this command would see a browser started on this machine.

    Args:
        is_terminal: whether standard output is a terminal; a program that reads the output needs
            only the link.
    """
    if not is_terminal:
        return False
    if platform == "darwin":  # macOS has no display variable, and SSH shows no windows
        return "SSH_CONNECTION" not in environ
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def _create_dagster_link(stack: Stack) -> str:
    address = urls(stack.settings)["dagster"]
    program = "dagster-webserver"
    start_programs(stack, [program])
    with closing(DagsterHTTP.for_home(stack.settings)) as dagster:
        wait_until(stack, dagster.is_up, program=program)
    return make_dagster_link(stack.settings, address, path=build_lineage_link(""))
