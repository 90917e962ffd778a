"""Test `POST /twin/alarm`: an alarm from outside requests one retraining, with a key of its own."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.unit.gateway.test_routes import app, client  # noqa: F401 - fixtures
from twin_resources.access.keys import Role, add_key, open_key_store
from twin_resources.quality.retraining.retrainings import RetrainingRequest, open_requests
from twin_resources.settings import Settings

# What a monitor of Langfuse 4.16.0 posts (`MonitorWebhookQueueEventSchema`).
MONITOR = {
    "id": "e1",
    "timestamp": "2026-11-30T12:00:00.000Z",
    "type": "monitor-alert",
    "apiVersion": "v1",
    "payload": {
        "monitorId": "m1",
        "projectId": "p1",
        "message": {"title": "thumbs fell\nbelow .7", "body": "avg(value) = 0.61"},
        "severity": "ALERT",
    },
}


def make_key(home: Settings, role: Role, *authors: str) -> dict[str, str]:
    with closing(open_key_store(home)) as state:
        key = add_key(state, role=role, authors=authors or ("*",), label=f"{role}{len(authors)}")
    return {"Authorization": f"Bearer {key}"}


def read_requests(home: Settings) -> list[RetrainingRequest]:
    with closing(open_key_store(home)) as state, state.read_transaction() as connection:
        return open_requests(connection).get("ann", [])


async def test_an_alarm_requests_one_retraining_with_its_reason(
    client: httpx.AsyncClient,  # noqa: F811
    home: Settings,
) -> None:
    headers = make_key(home, "alarm")
    first = await client.post("/twin/alarm?author=ann", json=MONITOR, headers=headers)
    again = await client.post("/twin/alarm?author=ann", json=MONITOR, headers=headers)
    assert (first.status_code, first.json()["requested"]) == (200, True)
    assert (again.status_code, again.json()["requested"]) == (200, False)
    assert again.json()["number"] == first.json()["number"]
    [request] = read_requests(home)
    assert (request.cause, request.asked_by, request.reason) == (
        "quality",
        "alarm: alarm0",
        "thumbs fell below .7",
    )


@pytest.mark.parametrize(
    ("query", "body", "status", "author"),
    [
        ("", {"reason": "low"}, 200, "ann"),  # the only author of the key
        ("?author=bob", {"reason": "low"}, 403, None),
        ("?author=ann", MONITOR | {"payload": MONITOR["payload"] | {"severity": "OK"}}, 200, None),  # type: ignore[operator]
        ("?author=ann", [], 400, None),
    ],
)
async def test_an_alarm_is_for_an_author_of_the_key(
    client: httpx.AsyncClient,  # noqa: F811
    home: Settings,
    query: str,
    body: Any,
    status: int,
    author: str | None,
) -> None:
    headers = make_key(home, "alarm", "ann")
    response = await client.post(f"/twin/alarm{query}", json=body, headers=headers)
    assert response.status_code == status, response.text
    assert [request.author for request in read_requests(home)] == ([author] if author else [])


async def test_the_key_of_an_alarm_calls_nothing_else(
    client: httpx.AsyncClient,  # noqa: F811
    home: Settings,
) -> None:
    alarm, reader = make_key(home, "alarm"), make_key(home, "reader")
    for path in ("/v1/models", "/metrics"):
        assert (await client.get(path, headers=alarm)).status_code == 403
    question = {"model": "twin/ann", "messages": [{"role": "user", "content": "Oil?"}]}
    response = await client.post("/v1/chat/completions", json=question, headers=alarm)
    assert response.status_code == 403
    response = await client.post("/twin/alarm?author=ann", json={}, headers=reader)
    assert (response.status_code, read_requests(home)) == (403, [])
