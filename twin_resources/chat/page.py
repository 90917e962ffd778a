"""The chat page: a Gradio page on the endpoint, and the door in front of it.

Belongs here: widgets, what a click does, the session cookie.
Does not belong here: talking to the gateway (`conversation.py`), links and keys (`links.py`).
Source: https://www.gradio.app/docs/gradio/chatbot, mounted in a Starlette application.

Imported by the page's own process alone: Gradio takes four seconds. Its events and FastAPI's routes
read annotations when they are declared, so these are no strings here.
Nothing is loaded from elsewhere: fonts are the system's, and the content policy forbids the browser
to fetch from another host.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from gradio.themes import Soft
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response

from twin_resources.chat.conversation import (
    Endpoint,
    authors_of,
    facts_as_markdown,
    model_name,
)
from twin_resources.chat.links import use_link
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

VERSIONS = {"": "as released", "stable": "stable", "canary": "canary", "base": "base model"}
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
CLOSED = (
    "<h1>This page opens with a link</h1><p>Run <code>twin chat</code> on the machine of the twin: "
    "it prints a link that works once.</p>"
)


def build_app(settings: Settings, endpoint: Endpoint, *, cookie_secret: str) -> FastAPI:
    """The application: `/open?link=…` lets a browser in, everything else asks for its cookie."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/open")
    def open_page(request: Request, link: str = "", view: str = "") -> Response:
        if not use_link(settings, link):
            return HTMLResponse(CLOSED, status_code=403)
        request.session["in"] = True
        shown = f"/?{urlencode({'view': view})}" if view else "/"
        return RedirectResponse(shown, status_code=303)

    @app.get("/ready")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.middleware("http")
    async def door(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path not in {"/open", "/ready"} and not request.session.get("in"):
            return HTMLResponse(CLOSED, status_code=403)
        response = await go_on(request)
        response.headers["Content-Security-Policy"] = CONTENT_POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    # Added last, so outermost: the cookie is read before the door looks at it. A name that leads
    # here from a foreign page (DNS rebinding) is no host of ours.
    app.add_middleware(
        SessionMiddleware, secret_key=cookie_secret, session_cookie="twin-chat", same_site="strict"
    )
    app.add_middleware(
        TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", settings.host]
    )
    fonts = ["system-ui", "sans-serif"]
    theme = Soft(font=fonts, font_mono=["ui-monospace", "monospace"])
    return gr.mount_gradio_app(
        app, build_page(endpoint), "/", theme=theme, footer_links=[], ssr_mode=False
    )


def build_page(endpoint: Endpoint) -> gr.Blocks:
    """The widgets, and what a click on each does."""
    desk = _Desk(endpoint)
    with gr.Blocks(title="LLM Twin", fill_height=True, analytics_enabled=False) as page:
        answers = gr.State([])
        with gr.Row(equal_height=False):
            with gr.Column(scale=3):
                talk = gr.Chatbot(
                    label="Conversation",
                    height="70vh",
                    editable="all",
                    buttons=["copy"],
                    elem_id="conversation",
                )
                question = gr.Textbox(
                    placeholder="Ask, and press Enter",
                    show_label=False,
                    elem_id="question",
                    autofocus=True,
                )
            with gr.Column(scale=1, min_width=280):
                author = gr.Dropdown(label="Author", elem_id="author")
                version = gr.Radio(label="Answered by", elem_id="version")
                facts = gr.Markdown("Sources, version and cost of the answer stand here.")
                gr.Markdown(
                    "Thumbs and edits below an answer are feedback: they are stored and used to "
                    "judge and to train the twin."
                )
        page.load(desk.authors, outputs=[author, version])
        author.change(desk.versions, inputs=author, outputs=version)
        question.submit(
            desk.answer,
            inputs=[question, talk, answers, author, version],
            outputs=[question, talk, answers, facts],
        )
        talk.like(desk.vote, inputs=answers)
        talk.edit(desk.edit, inputs=[talk, answers], outputs=talk)
        talk.select(desk.show, inputs=answers, outputs=facts)
        talk.clear(lambda: ([], ""), outputs=[answers, facts])
    return page


class _Desk:
    """What the page does; `answers` is, for each message, the `twin` field (empty: a question)."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def authors(self) -> Any:
        found = authors_of(await self._read_models())
        first = next(iter(found), None)
        return gr.Dropdown(choices=list(found), value=first), _choice(found.get(first or "", []))

    async def versions(self, author: str) -> Any:
        return _choice(authors_of(await self._read_models()).get(author, []))

    async def answer(
        self,
        question: str,
        talk: list[dict[str, Any]],
        answers: list[dict[str, Any]],
        author: str,
        version: str,
    ) -> AsyncGenerator[tuple[str, list[dict[str, Any]], list[dict[str, Any]], str]]:
        if not question.strip():
            yield question, talk, answers, ""
            return
        asked = [*talk, {"role": "user", "content": question}]
        turns = [{"role": turn["role"], "content": _text(turn["content"])} for turn in asked]
        said: dict[str, Any] = {}
        text = ""
        yield "", [*asked, {"role": "assistant", "content": "…"}], answers, ""
        try:
            async for piece in self._endpoint.ask(model_name(author, version), turns):
                text, said = piece.text, dict(piece.facts)
                yield "", [*asked, {"role": "assistant", "content": text or "…"}], answers, ""
        except TwinError as error:
            _tell(error)
            text = text or f"No answer: {error.found}"
        shown = [*asked, {"role": "assistant", "content": text}]
        known = [*answers, {}, said]
        yield "", shown, known, facts_as_markdown(said) if said else ""

    async def vote(self, answers: list[dict[str, Any]], clicked: gr.LikeData) -> None:
        # A thumb that is taken back is neither: the vote stays until another one replaces it.
        if clicked.liked in (True, False):
            thumb = "up" if clicked.liked else "down"
            await self._give(answers, clicked.index, thumb=thumb)

    async def edit(
        self, talk: list[dict[str, Any]], answers: list[dict[str, Any]], edited: gr.EditData
    ) -> list[dict[str, Any]]:
        await self._give(answers, edited.index, edit=_text(edited.value))
        return talk

    def show(self, answers: list[dict[str, Any]], clicked: gr.SelectData) -> str:
        said = _facts_at(answers, clicked.index)
        return facts_as_markdown(said) if said else "That is a question."

    async def _give(self, answers: list[dict[str, Any]], index: Any, **opinion: str) -> None:
        trace = _facts_at(answers, index).get("trace_id", "")
        if not trace:
            gr.Info("Only answers take feedback.")
            return
        try:
            await self._endpoint.give_feedback(trace, **opinion)
        except TwinError as error:
            _tell(error)
        else:
            gr.Info("Thank you: stored.", duration=3)

    async def _read_models(self) -> list[str]:
        try:
            return await self._endpoint.models()
        except TwinError as error:
            _tell(error)
            return []


def _choice(aliases: list[str]) -> Any:
    choices = [(VERSIONS.get(alias, alias), alias) for alias in aliases]
    return gr.Radio(choices=choices, value=aliases[0] if aliases else None)


def _facts_at(answers: list[dict[str, Any]], index: Any) -> dict[str, Any]:
    place = index[0] if isinstance(index, (list, tuple)) else index
    return answers[place] if 0 <= place < len(answers) else {}


def _text(content: Any) -> str:
    """A message's text: Gradio holds it as a string or as a list of parts."""
    if isinstance(content, str):
        return content
    parts: list[Any] = content if isinstance(content, list) else [content]
    return "\n".join(
        part if isinstance(part, str) else str(part.get("text", "")) for part in parts if part
    )


def _tell(error: TwinError) -> None:
    gr.Warning(f"{error.found}. {error.next_step}")
