"""Serve a page of another origin that attacks Dagster in a browser whose owner is signed in.

Scope: that page, and the owner's browser. Out of scope: the assertions (`test_dagster_http.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser import BROWSER, launch_browser
from tests.http_server import Response, http_server
from twin_resources.page.links import make_dagster_link
from twin_resources.settings import Settings

QUERY = """mutation { launchRun(executionParams: {
  selector: {jobName: "retrain_twin", repositoryName: "__repository__",
             repositoryLocationName: "llm-twin"}
  runConfigData: {}
  executionMetadata: {tags: [{key: "dagster/partition", value: "eve"}]}
}) { __typename } }"""
# Every way in which a page can make a browser send a request to another origin.
PAGE = """<img src="{get}"><iframe src="{root}/graphql"></iframe>
<form id="f" method="post" action="{get}" target="hidden"></form><iframe name="hidden"></iframe>
<script>
const requests = [
  fetch("{get}", {{credentials: "include"}}),
  fetch("{get}", {{credentials: "include", mode: "no-cors"}}),
  fetch("{get}", {{method: "POST", credentials: "include", mode: "no-cors", body: "x"}}),
  fetch("{root}/graphql", {{method: "POST", credentials: "include",
    headers: {{"content-type": "application/json"}}, body: JSON.stringify({{query: {query}}})}}),
  fetch("{root}/graphql", {{method: "POST", credentials: "include", mode: "no-cors",
    headers: {{"content-type": "text/plain"}}, body: JSON.stringify({{query: {query}}})}}),
  new Promise((done, failed) => {{
    const socket = new WebSocket("{socket}", "graphql-ws");
    socket.onopen = () => {{ socket.send(JSON.stringify(
      {{type: "start", id: "1", payload: {{query: {query}}}}})); done("open"); }};
    socket.onerror = () => failed(new Error("refused"));
  }}),
];
document.getElementById("f").submit();
Promise.allSettled(requests).then(results => {{
  document.title = results.map(one => one.status === "fulfilled" && one.value.type !== "opaque"
    ? "read" : "nothing").join(" ");
}});
</script>"""


@contextmanager
def cross_origin_page(root: str) -> Iterator[str]:
    """Serve the page on another port of this machine, and yield its URL.

    It is another origin, but the same site, so that the browser sends the owner's cookie with its
    requests. It would not do so for a page on another machine.

    Args:
        root: URL of Dagster's pages.
    """
    body = PAGE.format(
        root=root,
        get=f"{root}/graphql?query={quote(QUERY)}",
        query=json.dumps(QUERY),
        socket=root.replace("http", "ws") + "/graphql",
    ).encode()

    headers = {"Content-Type": "text/html; charset=utf-8"}
    with http_server(lambda _: Response(body, headers=headers)) as url:
        yield f"{url}/"


@contextmanager
def owner_browser(settings: Settings, root: str) -> Iterator[Any]:
    """Yield a browser context in which the owner has opened Dagster's pages."""
    if not BROWSER:
        pytest.skip("no Chromium on this machine")
    with launch_browser() as browser:
        context = browser.new_context()
        tab = context.new_page()
        response = tab.goto(make_dagster_link(settings, root))
        assert response is not None
        assert response.status == 200
        tab.wait_for_selector("#root >> text=Runs", timeout=90_000)  # the owner's page works
        yield context
