"""Build the Traces tab: a list of traces with outcomes and costs, and a single trace.

Scope: the widgets and their event handlers.
Out of scope: reading traces (`langfuse/trace_reading.py`), resolving a trace's posts
(`explanation.py`), HTML (`spending.py`, `trace_pages.py`).

A click sets the address to `/?trace=` or `/?view=traces`, so the browser's Back button returns to
the previous view. A home with a real Langfuse has its list, its filters and the steps of an answer
there: the tab links to them, and shows what Langfuse does not know, the posts behind an answer.
"""

from typing import Any
from urllib.parse import parse_qsl

import gradio as gr

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.trace_reading import (
    TraceFilter,
    build_trace_tree,
    parse_score_condition,
    read_trace_page,
    traces_url,
)
from twin_resources.page.author_picker import AuthorPicker
from twin_resources.page.event_options import UNQUEUED_EVENT
from twin_resources.page.page_notices import render_error_notice
from twin_resources.page.spending import read_spending, render_spending
from twin_resources.page.trace_pages import (
    render_langfuse_link,
    render_trace,
    render_trace_list,
)
from twin_resources.registry.explanation import Explanation, explain_answer
from twin_resources.settings import Settings

PAGE_SIZE = 12
SCORE_CHOICES = {
    "any or none": "",
    "thumbs down": "thumbs<0.5",
    "thumbs up": "thumbs>=0.5",
    "reworded": "output",
    "lost a comparison": "comparison<0.5",
    "weakly supported (below .3)": "support<0.3",
}


class TracesTab:
    """The Traces tab; create it inside a `gr.Blocks`.

    Args:
        views: tabs of the page; an address can select one of them.
    """

    def __init__(self, settings: Settings, author_picker: AuthorPicker, views: gr.Tabs) -> None:
        self._settings, self._author_picker, self._views = settings, author_picker, views
        self.cursors = gr.State([""])  # cursors of the pages up to the current one
        self.notice = gr.HTML("", padding=False, elem_id="look-notice")
        with gr.Column(elem_id="traces") as self.list_column:
            with gr.Row(elem_id="filters", equal_height=True):
                self.score = gr.Dropdown(
                    label="Score, or a condition such as support<0.2",
                    choices=list(SCORE_CHOICES.items()),
                    value="",
                    allow_custom_value=True,
                    elem_id="filter-score",
                    min_width=180,
                    visible=not settings.has_real_langfuse,
                )
            self.table = gr.HTML("", padding=False, elem_id="trace-list", min_height=80)
            with gr.Row(elem_id="pages", visible=not settings.has_real_langfuse):
                self.newer_button = gr.Button(
                    "Newer", size="sm", elem_id="newer", interactive=False
                )
                self.older_button = gr.Button(
                    "Older", size="sm", elem_id="older", interactive=False
                )
                self.refresh_button = gr.Button("Refresh", size="sm", elem_id="refresh")
            self.spending = gr.HTML("", padding=False, elem_id="figures")
        self.trace = gr.HTML("", padding=False, elem_id="trace", visible=False)
        self.location = gr.Textbox(visible=False)

    def wire(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """Connect the events to their handlers.

        Args:
            tab: the Gradio tab with these widgets. Its data are read when a reader opens it, not
                when the page is loaded.
        """
        author = self._author_picker.author
        filters = [author, self.score]
        list_outputs = [self.table, self.cursors, self.newer_button, self.older_button, self.notice]
        first_page_event = (
            self._load_first_page_if_visible,
            [self.location, *filters],
            list_outputs,
        )
        view_outputs = [self._views, self.list_column, self.trace, self.notice]
        # The address determines the view; a click sets the address (page.js).
        location_script = {"js": "() => location.search"}
        open_button = gr.Button(visible="hidden", elem_id="go-to")
        spending_arguments = {"outputs": [self.spending], **UNQUEUED_EVENT}
        # An address can open this tab without a "select" event.
        location_arguments = {
            "js": "(_location, ...rest) => [location.search, ...rest]",
            **UNQUEUED_EVENT,
        }
        page.load(
            self._open_view, self.location, view_outputs, **location_script, **UNQUEUED_EVENT
        ).then(*first_page_event, **location_arguments)
        author.change(*first_page_event, **location_arguments)
        open_button.click(
            self._open_view, self.location, view_outputs, **location_script, **UNQUEUED_EVENT
        ).then(*first_page_event, **location_arguments)
        click_script = (
            "(_location, ...rest) => [new URLSearchParams(location.search).get('trace') "
            "? location.search : '?view=traces', ...rest]"
        )
        tab.select(*first_page_event, js=click_script, **UNQUEUED_EVENT).then(
            self._render_spending, **spending_arguments
        )
        self.score.change(
            self._load_first_page,
            filters,
            list_outputs,
            trigger_mode="always_last",  # the last of several changes must take effect
            **UNQUEUED_EVENT,
        )
        self.refresh_button.click(
            self._load_first_page, filters, list_outputs, **UNQUEUED_EVENT
        ).then(self._render_spending, **spending_arguments)
        self.older_button.click(
            self._load_page, [*filters, self.cursors], list_outputs, **UNQUEUED_EVENT
        )
        self.newer_button.click(
            self._load_newer_page, [*filters, self.cursors], list_outputs, **UNQUEUED_EVENT
        )

    def _open_view(self, location: str) -> tuple[Any, Any, Any, str]:
        """Return updates of the tabs, the list, the trace and the notice for an address."""
        trace_id, view = _parse_location(location)
        if not trace_id:
            tab_id = {"traces": "look", "look": "look", "compare": "compare"}.get(view)
            tabs = gr.Tabs(selected=tab_id) if tab_id else gr.skip()
            return tabs, gr.Column(visible=True), gr.HTML(visible=False), ""
        look_tab = gr.Tabs(selected="look")
        try:
            html = self._render_trace(trace_id)
        except TwinError as error:
            return (
                look_tab,
                gr.Column(visible=True),
                gr.HTML(visible=False),
                render_error_notice(error),
            )
        return look_tab, gr.Column(visible=False), gr.HTML(html, visible=True), ""

    def _render_trace(self, trace_id: str) -> str:
        with LangfuseClient.from_settings(self._settings) as client:
            trace_document = client.trace(trace_id)
            tree = build_trace_tree(client, trace_document)
            langfuse_url = traces_url(client, trace_id) if self._settings.has_real_langfuse else ""
        explanation: Explanation | None = None
        explanation_error = ""
        try:
            explanation = explain_answer(self._settings, trace_document)
        except TwinError as error:  # this home has no posts for another home's trace
            explanation_error = f"Its posts cannot be shown: {error.found}."
        return render_trace(
            tree, explanation, langfuse_url=langfuse_url, explanation_error=explanation_error
        )

    def _load_first_page(self, author: str | None, score: str | None) -> tuple[Any, ...]:
        return self._load_page(author, score, [""])

    def _load_first_page_if_visible(
        self, location: str, author: str | None, score: str | None
    ) -> tuple[Any, ...]:
        """Show the first page if this tab is open; keep any notice about the address."""
        trace_id, view = _parse_location(location)
        if not trace_id and view not in {"traces", "look"}:
            return (gr.skip(),) * 5
        *updates, notice_html = self._load_first_page(author, score)
        return *updates, notice_html or gr.skip()

    def _load_newer_page(
        self, author: str | None, score: str | None, cursors: list[str]
    ) -> tuple[Any, ...]:
        return self._load_page(author, score, cursors[:-2] or [""])

    def _load_page(
        self, author: str | None, score: str | None, cursors: list[str]
    ) -> tuple[Any, ...]:
        """Return the page at the last cursor, and append the next page's cursor."""
        if self._settings.has_real_langfuse:
            return self._link_to_langfuse()
        try:
            trace_filter = TraceFilter(author or "", score=parse_score_condition(score or ""))
            with LangfuseClient.from_settings(self._settings) as client:
                page = read_trace_page(
                    client, trace_filter, limit=PAGE_SIZE, start_cursor=cursors[-1]
                )
        except TwinError as error:
            return *(gr.skip(),) * 4, render_error_notice(error)
        next_cursors = [*cursors, page.next_cursor]
        has_newer, has_older = len(cursors) > 1, bool(page.next_cursor)
        buttons = gr.Button(interactive=has_newer), gr.Button(interactive=has_older)
        return render_trace_list(page.rows), next_cursors, *buttons, ""

    def _link_to_langfuse(self) -> tuple[Any, ...]:
        try:
            with LangfuseClient.from_settings(self._settings) as client:
                url = traces_url(client)
        except TwinError as error:
            return *(gr.skip(),) * 4, render_error_notice(error)
        buttons = gr.Button(interactive=False), gr.Button(interactive=False)
        return render_langfuse_link(url), [""], *buttons, ""

    def _render_spending(self) -> str:
        spending_html = render_spending(read_spending(self._settings))
        return f'<div class="twin-figures">{spending_html}</div>'


def _parse_location(location: str) -> tuple[str, str]:
    """Return the trace id and the view in an address's query string, each "" if missing."""
    parameters = dict(parse_qsl((location or "").lstrip("?")))
    return parameters.get("trace", ""), parameters.get("view", "")
