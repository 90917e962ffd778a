"""Build the chat page, a Gradio user interface for the gateway, with an access check.

Scope: the application, the session cookie, and the assembly of the tabs.
Out of scope: calling the gateway (`gateway_client.py`), links and keys (`links.py`).
Source: https://www.gradio.app/docs/gradio/chatbot. The page is mounted in a FastAPI application.

Only the page's own process imports this module, because importing Gradio takes four seconds.
Gradio's events and FastAPI's routes read annotations when they are declared, so this module does
not use string annotations. The page loads nothing from other hosts: it uses system fonts, and the
content security policy prevents the browser from loading anything else.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from gradio.themes import Base
from gradio.themes.utils import colors, sizes
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response

from twin_resources.page.answer_page import read_answer_page
from twin_resources.page.author_files import AuthorFiles
from twin_resources.page.author_picker import AuthorPicker
from twin_resources.page.chat_tab import ChatTab
from twin_resources.page.comparison_tab import ComparisonTab
from twin_resources.page.gateway_client import GatewayClient
from twin_resources.page.links import allowed_hosts, cookie_name, refuse_origin, use_link
from twin_resources.page.traces_tab import TracesTab
from twin_resources.settings import Settings

QUEUE_INTERVAL_S = 0.02
PAGE_FOLDER = Path(__file__).parent
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'"
)
ACCESS_DENIED_HTML = (
    "<h1>This page opens with a link</h1><p>Run <code>twin open</code> on the machine that runs "
    "the twin. It opens the page, or prints a link that works once and expires after ten "
    "minutes.</p>"
)


def build_app(settings: Settings, gateway: GatewayClient, *, cookie_secret: str) -> FastAPI:
    """Build the application; `/open?link=…` sets the cookie that other paths require."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/open")
    def open_page(request: Request, link: str = "", view: str = "") -> Response:
        if not use_link(settings, link):
            return HTMLResponse(ACCESS_DENIED_HTML, status_code=403)
        request.session["authorized"] = True
        destination = f"/?{urlencode({'view': view})}" if view else "/"
        return RedirectResponse(destination, status_code=303)

    @app.get("/a/{trace_id}")
    def show_answer(trace_id: str) -> Response:
        html, status = read_answer_page(settings, trace_id)
        return HTMLResponse(html, status_code=status)

    @app.get("/ready")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.middleware("http")
    async def check_request(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if request.url.path not in {"/open", "/ready"} and not request.session.get("authorized"):
            return HTMLResponse(ACCESS_DENIED_HTML, status_code=403)
        origin, host = request.headers.get("origin"), request.headers.get("host", "")
        if refusal := refuse_origin(request.method, origin=origin, host=host):
            return PlainTextResponse(refusal, status_code=403)
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = CONTENT_POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    # The last middleware is outermost, so the cookie is read before the check uses it. The host
    # check rejects another site's name that resolves to this machine (DNS rebinding).
    app.add_middleware(
        SessionMiddleware,
        secret_key=cookie_secret,
        session_cookie=cookie_name(settings, "chat"),
        same_site="strict",
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts(settings))
    script = (PAGE_FOLDER / "page.js").read_text(encoding="utf-8")
    page = build_page(settings, gateway, cookie_secret=cookie_secret)
    return gr.mount_gradio_app(
        app,
        page,
        "/",
        theme=_build_theme(),
        css_paths=PAGE_FOLDER / "page.css",
        head=f"<script>{script}</script>",
        footer_links=[],
        ssr_mode=False,
    )


def _build_theme() -> Base:
    fonts = ["system-ui", "sans-serif"]
    return Base(
        primary_hue=colors.teal,
        neutral_hue=colors.stone,
        font=fonts,
        font_mono=["ui-monospace", "monospace"],
        radius_size=sizes.radius_lg,
    ).set(
        body_background_fill="#faf8f4",  # paper color
        block_background_fill="white",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        color_accent="*primary_700",
        loader_color="*primary_600",
    )


def build_page(settings: Settings, gateway: GatewayClient, *, cookie_secret: str) -> gr.Blocks:
    """Build the header and the three tabs."""
    with gr.Blocks(title="LLM Twin", analytics_enabled=False) as page:
        author_picker = AuthorPicker(gateway, AuthorFiles(settings))
        with gr.Tabs(elem_id="views") as views:
            with gr.Tab("Talk", id="talk") as chat_container:
                chat_tab = ChatTab(gateway, author_picker, cookie_secret=cookie_secret)
            with gr.Tab("Before | after", id="compare") as comparison_container:
                comparison_tab = ComparisonTab(gateway, author_picker)
            with gr.Tab("Traces", id="look") as traces_container:
                traces_tab = TracesTab(settings, author_picker, views)
        chat_tab.wire(page)
        comparison_tab.wire(page, comparison_container)
        traces_tab.wire(page, traces_container)
        for tab, path in (
            (chat_container, "/"),
            (comparison_container, "/?view=compare"),
            (traces_container, "/?view=traces"),
        ):
            tab.select(None, js=f"() => twin.setAddress('{path}')")
    # An idle queue asks for work every millisecond, which takes 7 % of a core; on Windows, Gradio
    # itself waits 50 ms.
    page._queue.sleep_when_free = QUEUE_INTERVAL_S  # pyright: ignore[reportPrivateUsage]
    return page
