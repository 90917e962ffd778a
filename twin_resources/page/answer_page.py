"""Render one answer as a page of its own, at `/a/ID`, for whoever may open the conversation."""
# pyright: strict

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.trace_reading import TraceRow, build_trace_tree
from twin_resources.page.escaping import escape_html
from twin_resources.page.trace_pages import format_time, render_prose_frame
from twin_resources.settings import Settings

_STYLE = """
body { margin: 0; background: #faf8f4; color: #292524; font: 18px/1.6 ui-serif, Georgia, serif; }
main { max-width: 44rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; }
blockquote { margin: 1rem 0; padding-left: 1rem; border-left: 3px solid #0f766e; }
pre { overflow-x: auto; font-size: .85em; }
a { color: #0f766e; }
.twin-prose { margin: 1rem 0; padding: .75rem 1rem; border: 1px dashed #a8a29e; }
.twin-prose { border-radius: 8px; font: 16px/1.55 system-ui, sans-serif; }
.twin-prose-label { margin: 0; font-weight: 600; font-size: 14px; }
p.facts { font: 14px/1.5 system-ui, sans-serif; color: #57534e; }
@media (prefers-color-scheme: dark) {
  body { background: #1c1917; color: #e7e5e4; }
  a { color: #2dd4bf; }
  p.facts { color: #a8a29e; }
}
"""


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
    answer = MarkdownIt("commonmark", {"html": False}).render(row.answer)
    if row.prose_label:
        answer = render_prose_frame(row.prose_label, answer)
    trace = f'<a href="/?trace={escape_html(row.trace_id)}">Every step</a>'
    facts = f'<p class="facts">{escape_html(format_time(row.at))} · {trace}</p>'
    return _render_page(row.question, answer + facts)


def _render_page(title: str, body: str) -> str:
    escaped_title = escape_html(title)
    return (
        '<!doctype html><html><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{escaped_title}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{escaped_title}</h1>{body}"
        '<p class="facts"><a href="/">Ask a question</a></p></main></body></html>'
    )
