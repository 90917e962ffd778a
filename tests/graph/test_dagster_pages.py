"""Test that a foreign page can neither change nor read Dagster's web application."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from tests.graph.retraining.daemon_iteration import InProcessTarget
from twin_resources.page.dagster_pages import add_access_guard
from twin_resources.page.links import make_dagster_link, make_link
from twin_resources.settings import Settings, load_secrets

OWN_ORIGIN = "http://127.0.0.1:3000"
FOREIGN_ORIGIN = "http://evil.example"
SELECTOR = (
    '{sensorName: "quality_dropped", repositoryName: "__repository__", '
    'repositoryLocationName: "llm-twin"}'
)
SENSOR_QUERY = (
    f"{{ sensorOrError(sensorSelector: {SELECTOR}) "
    "{ ... on Sensor { sensorState { id status } } } }"
)
RUN_REQUEST = {
    "query": "mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename } }",
    "variables": {
        "p": {
            "selector": {
                "jobName": "retrain_twin",
                "repositoryName": "__repository__",
                "repositoryLocationName": "llm-twin",
            },
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "ada"}]},
        }
    },
}


@dataclass
class Pages:
    """The guarded webserver, with two kinds of clients: an authorized browser and a program."""

    settings: Settings
    app: Any
    instance: dg.DagsterInstance

    def client(self, **headers: str) -> TestClient:
        return TestClient(self.app, base_url=OWN_ORIGIN, headers=headers, follow_redirects=False)

    @property
    def program(self) -> TestClient:
        return self.client(authorization=f"Bearer {load_secrets(self.settings).gateway_master_key}")

    def browser(self) -> TestClient:
        client = self.client()
        response = client.get(make_dagster_link(self.settings, OWN_ORIGIN, path="/runs?view=all"))
        assert (response.status_code, response.headers["location"]) == (303, "/runs?view=all")
        return client

    def sensor_state(self) -> tuple[str, str]:
        """Return the id and the status of the sensor."""
        response = self.program.post("/graphql", json={"query": SENSOR_QUERY}).json()
        state = response["data"]["sensorOrError"]["sensorState"]
        return state["id"], state["status"]


@pytest.fixture(scope="module")
def workspace() -> Iterator[tuple[WorkspaceProcessContext, dg.DagsterInstance]]:
    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions("authors", ["ada"])
        with WorkspaceProcessContext(instance, InProcessTarget()) as context:
            yield context, instance


@pytest.fixture
def pages(home: Settings, workspace: tuple[WorkspaceProcessContext, dg.DagsterInstance]) -> Pages:
    context, instance = workspace
    return Pages(
        home, add_access_guard(create_app_from_workspace_process_context(context), home), instance
    )


def build_stop_request(pages: Pages) -> dict[str, Any]:
    query = "mutation($id: String) { stopSensor(id: $id) { __typename } }"
    return {"query": query, "variables": {"id": pages.sensor_state()[0]}}


def query_url(body: dict[str, Any]) -> str:
    return f"/graphql?query={quote(body['query'])}&variables={quote(json.dumps(body['variables']))}"


def send_get(client: TestClient, body: dict[str, Any], headers: dict[str, str]) -> int:
    return client.get(query_url(body), headers=headers).status_code


def send_post(client: TestClient, body: dict[str, Any], headers: dict[str, str]) -> int:
    return client.post("/graphql", json=body, headers=headers).status_code


def send_form(client: TestClient, body: dict[str, Any], headers: dict[str, str]) -> int:
    """Send what a page may send without a preflight: no JSON body, the query in the URL."""
    return client.post(query_url(body), data={"a": "b"}, headers=headers).status_code


def send_report(client: TestClient, _body: dict[str, Any], headers: dict[str, str]) -> int:
    path = "/report_asset_materialization/released_model"
    return client.post(path, json={"partition": "ada"}, headers=headers).status_code


def send_websocket(client: TestClient, body: dict[str, Any], headers: dict[str, str]) -> int:
    address = f"{OWN_ORIGIN}/graphql".replace("http", "ws")
    try:
        with client.websocket_connect(address, ["graphql-ws"], headers=headers) as socket:
            socket.send_json({"type": "start", "id": "1", "payload": body})
            return 101
    except WebSocketDenialResponse as response:
        return response.status_code
    except WebSocketDisconnect:
        return 403


SENDERS = (send_get, send_post, send_form, send_report, send_websocket)
HEADERS_BY_SOURCE = {
    "another origin": {"origin": FOREIGN_ORIGIN},
    "another port of this machine": {"origin": "http://127.0.0.1:8080"},
    "a frame without an origin": {"origin": "null"},
    "a foreign name that resolves to this machine": {
        "host": "evil.example:3000",
        "origin": "http://evil.example:3000",
    },
    "no origin": {},
}


@pytest.mark.long
@pytest.mark.parametrize("source", HEADERS_BY_SOURCE)
@pytest.mark.parametrize("send", SENDERS, ids=lambda send: send.__name__)
def test_a_cross_origin_page_changes_nothing(
    pages: Pages, send: Callable[[TestClient, dict[str, Any], dict[str, str]], int], source: str
) -> None:
    """Test with and without the owner's cookie, which a page on this machine may send."""
    before = pages.sensor_state()
    for client in (pages.browser(), pages.client()):
        for body in (build_stop_request(pages), RUN_REQUEST):
            assert send(client, body, HEADERS_BY_SOURCE[source]) in {400, 403, 405}
    assert pages.sensor_state() == before
    assert before[1] == "RUNNING"
    assert pages.instance.get_runs() == []
    assert pages.instance.get_latest_materialization_event(dg.AssetKey("released_model")) is None


def test_a_cross_origin_page_reads_nothing(pages: Pages) -> None:
    body = {"query": SENSOR_QUERY}
    for path in ("/", "/graphql", "/logs/x", "/download_debug/x", "/runs"):
        for headers in ({"host": "evil.example"}, {"origin": FOREIGN_ORIGIN}, {}):
            response = pages.client().get(path, headers=headers)
            assert response.status_code in {400, 403}
            assert "sensorState" not in response.text
    for headers in (
        {"origin": FOREIGN_ORIGIN},
        {"host": "evil.example", "origin": "http://evil.example"},
    ):
        response = pages.browser().post("/graphql", json=body, headers=headers)
        assert response.status_code in {400, 403}
    assert pages.client().get("/server_info").status_code == 200


def test_dagsters_page_and_a_program_with_the_key_work(pages: Pages) -> None:
    browser = pages.browser()
    page = browser.get("/")
    assert page.status_code == 200
    assert '<div id="root">' in page.text
    assert page.headers["x-frame-options"] == "DENY"
    assert send_websocket(browser, {"query": SENSOR_QUERY}, {"origin": OWN_ORIGIN}) == 101
    body = build_stop_request(pages)
    assert send_post(browser, body, {"origin": OWN_ORIGIN}) == 200
    assert pages.sensor_state()[1] == "STOPPED"
    start = {"query": f"mutation {{ startSensor(sensorSelector: {SELECTOR}) {{ __typename }} }}"}
    assert pages.program.post("/graphql", json=start).status_code == 200
    assert pages.sensor_state()[1] == "RUNNING"


def test_a_link_opens_once_and_a_chat_link_is_refused(pages: Pages) -> None:
    link = make_dagster_link(pages.settings, OWN_ORIGIN)
    assert pages.client().get(link).status_code == 303
    assert pages.client().get(link).status_code == 403
    chat = make_link(pages.settings, OWN_ORIGIN)
    assert pages.client().get(chat).status_code == 403
    assert "twin open dagster" in pages.client().get("/").text


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_a_link_leads_only_to_dagsters_pages(pages: Pages, path: str) -> None:
    response = pages.client().get(make_dagster_link(pages.settings, OWN_ORIGIN, path=path))
    assert response.headers["location"] == "/"
