"""A page of another origin, in Chromium, against the running Dagster whose owner is signed in."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest

from tests.live.processes.test_dagster_http import start
from twin_resources.page.links import make_dagster_link
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.stack import Stack, stop_stack
from twin_resources.settings import load_settings

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
QUERY = """mutation { launchRun(executionParams: {
  selector: {jobName: "retrain_twin", repositoryName: "__repository__",
             repositoryLocationName: "llm-twin"}
  runConfigData: {}
  executionMetadata: {tags: [{key: "dagster/partition", value: "jose"}]}
}) { __typename } }"""
# Every way by which a page makes a browser send something to another address.
PAGE = """<img src="{get}"><iframe src="{root}/graphql"></iframe>
<form id="f" method="post" action="{get}" target="hidden"></form><iframe name="hidden"></iframe>
<script>
const all = [
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
Promise.allSettled(all).then(ends => {{
  document.title = ends.map(end => end.status === "fulfilled" && end.value.type !== "opaque"
    ? "read" : "nothing").join(" ");
}});
</script>"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = load_settings(tmp_path_factory.mktemp("home"))
    try:
        yield start(settings)
    finally:
        stop_stack(settings)


@pytest.fixture
def foreign_page(stack: Stack) -> Iterator[str]:
    """Address of the page, on a port of its own: another origin of the same machine, to which the
    owner's cookie is sent, as it is not to a page of another machine."""
    root = DagsterHTTP.of_home(stack.settings).url
    body = PAGE.format(
        root=root,
        get=f"{root}/graphql?query={quote(QUERY)}",
        query=json.dumps(QUERY),
        socket=root.replace("http", "ws") + "/graphql",
    ).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def signed_in(stack: Stack) -> Iterator[Any]:
    """A browser in which the owner has opened Dagster's pages."""
    if not BROWSER:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    root = DagsterHTTP.of_home(stack.settings).url
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        context = browser.new_context()
        tab = context.new_page()
        opened = tab.goto(make_dagster_link(stack.settings, root))
        assert opened is not None
        assert opened.status == 200
        tab.wait_for_selector("#root >> text=Runs", timeout=90_000)  # its own page asks and shows
        yield context
        browser.close()


def test_a_foreign_page_starts_no_run(stack: Stack, foreign_page: str, signed_in: Any) -> None:
    dagster = DagsterHTTP.of_home(stack.settings)
    dagster.add_author("jose")
    tab = signed_in.new_page()
    tab.goto(foreign_page)
    tab.wait_for_function("document.title !== ''", timeout=60_000)
    assert tab.title().split() == ["nothing"] * 6
    assert dagster.runs() == []
    # The same words start a run where the owner's program sends them.
    assert dagster._query(QUERY, tried="launch")["launchRun"]["__typename"] == "LaunchRunSuccess"
