"""Render one answer as a page of its own, at `/a/ID`, for whoever may open the conversation."""
# pyright: strict

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.trace_reading import TraceRow, build_trace_tree
from twin_resources.page.escaping import escape_html
from twin_resources.page.trace_pages import format_time, render_prose_frame
from twin_resources.plain_page import render_page
from twin_resources.settings import Settings


def read_answer_page(settings: Settings, trace_id: str) -> tuple[str, int]:
    """Return the page of an answer, and its status: 404 until its trace is stored."""
    try:
        with LangfuseClient.from_settings(settings) as client:
            row = build_trace_tree(client, client.trace(trace_id)).row
    except TwinError as error:
        text = f"<p>No answer can be shown here: {escape_html(error.found)}.</p>"
        return _render_page("No answer", text), 404
    return render_answer_page(row), 200


def render_answer_page(row: TraceRow) -> str:
    """Return a question and its answer, whole, with a link to the trace."""
    from markdown_it import MarkdownIt

    # Without HTML, the answer's own markup is shown as text; unsafe links are not made.
    markdown = MarkdownIt("commonmark", {"html": False})
    answer = markdown.render(row.answer)
    if row.prose_label:
        answer = markdown.render(row.above_prose) + render_prose_frame(row.prose_label, answer)
    trace = f'<a href="/?trace={escape_html(row.trace_id)}">Every step</a>'
    facts = f'<p class="facts">{escape_html(format_time(row.at))} · {trace}</p>'
    return _render_page(row.question, answer + facts)


def _render_page(title: str, body: str) -> str:
    return render_page(title, f'{body}<p class="facts"><a href="/">Ask a question</a></p>')
