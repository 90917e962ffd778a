"""Build the Look tab: traces, their outcomes and costs, and a single trace after a click.

Scope: its widgets and the effect of a click. Out of scope: reading traces
(`langfuse/trace_reading.py`), resolving a trace's posts (`explanation.py`), HTML (`spending.py`,
`trace_pages.py`).

The embedded store and a real Langfuse are read through their common API. `/?trace=` and
`/?view=traces` are separate addresses: a click sets them, and the browser's Back button returns to
the previous one.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

import gradio as gr

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.observability.langfuse.trace_reading import (
    TraceFilter,
    read_page,
    score_condition,
    trace_address,
    tree_of,
)
from twin_resources.page.author_picker import AuthorPicker, plots_of
from twin_resources.page.events import QUICK
from twin_resources.page.page_notices import notice, problem
from twin_resources.page.plain_names import version_name
from twin_resources.page.readable import as_text
from twin_resources.page.spending import spending, spending_figures
from twin_resources.page.trace_pages import trace_list, trace_tree
from twin_resources.registry.explanation import Explanation, follow
from twin_resources.settings import Settings

PAGE = 12
VERSIONS = ("base", "paid", "quotes")  # a tuned version is typed, such as v3
ROUTES = {
    "as released": "stable",
    "on trial": "canary",
    "an earlier version, to compare": "anchor",
    "the base model": "base",
    "chosen: tuned model": "alias:stable",
    "chosen: base model": "alias:base",
    "chosen: paid model": "alias:paid",
    "draft in this voice": "alias:voice",
}
SCORES = {
    "any or none": "",
    "thumbs down": "thumbs<0.5",
    "thumbs up": "thumbs>=0.5",
    "reworded": "output",
    "lost a comparison": "comparison<0.5",
    "weakly supported (below .3)": "support<0.3",
}
ALL = "all"


class TracesTab:
    """The tab; create it inside a `gr.Blocks`.

    Args:
        views: the page's tabs; an address can select one of them.
    """

    def __init__(self, settings: Settings, whom: AuthorPicker, views: gr.Tabs) -> None:
        self._settings, self._whom, self._views = settings, whom, views
        self.cursors = gr.State([""])  # start of each page so far; the last one is shown
        self.notice = gr.HTML("", padding=False, elem_id="look-notice")
        with gr.Column(elem_id="traces") as self.listed:
            with gr.Row(elem_id="filters", equal_height=True):
                self.version = gr.Dropdown(
                    label="Version",
                    choices=[(ALL, ""), *((version_name(one), one) for one in VERSIONS)],
                    value="",
                    allow_custom_value=True,
                    elem_id="filter-version",
                    min_width=120,
                )
                self.route = gr.Dropdown(
                    label="Route",
                    choices=[(ALL, ""), *ROUTES.items()],
                    value="",
                    allow_custom_value=True,
                    elem_id="filter-route",
                    min_width=120,
                )
                self.score = gr.Dropdown(
                    label="Score, or as support<0.2",
                    choices=list(SCORES.items()),
                    value="",
                    allow_custom_value=True,
                    elem_id="filter-score",
                    min_width=180,
                )
            self.table = gr.HTML("", padding=False, elem_id="trace-list", min_height=80)
            with gr.Row(elem_id="pages"):
                self.newer = gr.Button("Newer", size="sm", elem_id="newer", interactive=False)
                self.older = gr.Button("Older", size="sm", elem_id="older", interactive=False)
                self.refresh = gr.Button("Read again", size="sm", elem_id="refresh")
            self.figures = gr.HTML("", padding=False, elem_id="figures")
        self.trace = gr.HTML("", padding=False, elem_id="trace", visible=False)
        self.place = gr.Textbox(visible=False)

    def wire(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """Connect the events to their handlers.

        Args:
            tab: this tab, whose data are read when it is opened, not when the page loads.
        """
        author = self._whom.author
        filters = [author, self.version, self.route, self.score]
        shown = [self.table, self.cursors, self.newer, self.older, self.notice]
        opened = [self._views, self.listed, self.trace, self.notice]
        # the address, which a click has set (page.js), determines the view
        here = {"js": "() => location.search"}
        go = gr.Button(visible="hidden", elem_id="go-to")
        drawn = {"inputs": [author], "outputs": [self.figures], **QUICK}
        # an address opens this tab without a "select" event; without the gateway there is no author
        looking = {"js": "(place, ...rest) => [location.search, ...rest]", **QUICK}
        page.load(self._open, self.place, opened, **here, **QUICK).then(
            self._first_if_looking, [self.place, *filters], shown, **looking
        )
        author.change(self._first_if_looking, [self.place, *filters], shown, **looking).then(
            self._figures_if_looking, [self.place, author], drawn["outputs"], **looking
        )
        go.click(self._open, self.place, opened, **here, **QUICK).then(
            self._first_if_looking, [self.place, *filters], shown, **looking
        )
        clicked = (
            "(place, ...rest) => [new URLSearchParams(location.search).get('trace') "
            "? location.search : '?view=traces', ...rest]"
        )
        tab.select(self._first_if_looking, [self.place, *filters], shown, js=clicked, **QUICK).then(
            self._figures, **drawn
        )
        gr.on(  # the last of several changes must win, whichever was read first
            [self.version.change, self.route.change, self.score.change],
            self._first,
            filters,
            shown,
            trigger_mode="always_last",
            **QUICK,
        )
        self.refresh.click(self._first, filters, shown, **QUICK).then(self._figures, **drawn)
        self.older.click(self._older, [*filters, self.cursors], shown, **QUICK)
        self.newer.click(self._newer, [*filters, self.cursors], shown, **QUICK)

    def _open(self, place: str) -> tuple[Any, Any, Any, str]:
        """Return the view that an address selects: the tabs, the list or a trace, a notice."""
        parameters = parse_qs((place or "").lstrip("?"))
        trace = (parameters.get("trace") or [""])[0]
        view = (parameters.get("view") or [""])[0]
        if not trace:
            chosen = {"traces": "look", "look": "look", "compare": "compare"}.get(view)
            tabs = gr.Tabs(selected=chosen) if chosen else gr.skip()
            return tabs, gr.Column(visible=True), gr.HTML(visible=False), ""
        selected = gr.Tabs(selected="look")
        try:
            html = self._one(trace)
        except TwinError as error:
            return selected, gr.Column(visible=True), gr.HTML(visible=False), problem(error)
        return selected, gr.Column(visible=False), gr.HTML(html, visible=True), ""

    def _one(self, trace: str) -> str:
        with LangfuseClient.from_settings(self._settings) as client:
            trace_found = client.trace(trace)
            tree = tree_of(client, trace_found)
            address = trace_address(client, trace) if self._settings.has_real_langfuse else ""
        explained: Explanation | None = None
        why = ""
        try:
            explained = follow(self._settings, trace_found)
        except TwinError as error:  # a trace of another program has no posts here
            why = f"Its posts cannot be shown: {error.found}."
        return trace_tree(tree, explained, address=address, why=why)

    def _first(self, *filters: str | None) -> tuple[Any, ...]:
        return self._page(filters, [""])

    def _first_if_looking(self, place: str, *filters: str | None) -> tuple[Any, ...]:
        """Show the first page if this tab is open; leave a notice about the address unchanged."""
        if not _is_look(place):
            return (gr.skip(),) * 5
        *shown, why = self._first(*filters)
        return *shown, why or gr.skip()

    def _figures_if_looking(self, place: str, author: str | None) -> Any:
        return self._figures(author) if _is_look(place) else gr.skip()

    def _older(self, *asked: Any) -> tuple[Any, ...]:
        return self._page(asked[:-1], asked[-1])

    def _newer(self, *asked: Any) -> tuple[Any, ...]:
        return self._page(asked[:-1], asked[-1][:-2] or [""])

    def _page(self, filters: Sequence[str | None], cursors: list[str]) -> tuple[Any, ...]:
        """Return the page that begins at the last cursor, and append the next cursor."""
        author, version, route, score = (text or "" for text in filters)
        try:
            wanted = TraceFilter(author, version, route, score_condition(score))
            with LangfuseClient.from_settings(self._settings) as client:
                page = read_page(client, wanted, limit=PAGE, after=cursors[-1])
        except TwinError as error:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), problem(error)
        following = [*cursors, page.following]
        newer, older = len(cursors) > 1, bool(page.following)
        buttons = gr.Button(interactive=newer), gr.Button(interactive=older)
        return trace_list(page.rows), following, *buttons, ""

    def _figures(self, author: str | None) -> str:
        """Return spending, the trace store and the newest report's plots."""
        if not author:
            return notice("No author can be looked at yet.")
        spent = spending_figures(spending(self._settings))
        return f'<div class="twin-figures">{spent}{self._store()}{self._plots(author)}</div>'

    def _store(self) -> str:
        """Return the source of the traces and its version, with a link if it is a real Langfuse."""
        with LangfuseClient.from_settings(self._settings) as client:
            try:
                version = str(client.health().get("version", ""))
            except TraceStoreError:
                return ""  # the list has already reported that the store does not respond
            if not self._settings.has_real_langfuse:
                what = f"the embedded trace store, a part of the API of Langfuse {version}"
                return f'<p class="twin-small">Read from {as_text(what)}.</p>'
            host = as_text(client.host)
            return (
                f'<p class="twin-small">Read from <a href="{host}" target="_blank" '
                f'rel="noopener noreferrer">Langfuse {as_text(version)} at {host}</a>.</p>'
            )

    def _plots(self, author: str) -> str:
        drawn = plots_of(self._whom.files, author)
        return f"<section><h2>The newest gate's report</h2>{drawn}</section>" if drawn else ""


def _is_look(place: str) -> bool:
    parameters = parse_qs((place or "").lstrip("?"))
    return "trace" in parameters or (parameters.get("view") or [""])[0] in ("traces", "look")
