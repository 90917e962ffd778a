"""Replay every recording of a real Langfuse 4.16.0 against the trace store.

The state behind a recording is rebuilt from its response: scores are posted and spans exported at
the recorded times. Then the recorded request is sent, and its response and cursor are compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trace_store.conftest import Store
from twin_resources.observability.trace_store.json_values import parse_timestamp_ms

SERVED_RECORDINGS = (
    *("delete-score", "get-health", "get-projects", "otel-json-empty", "post-score"),
    *("get-v2-observations", "get-v2-observations-default", "get-v2-observations-filter-tags"),
    *(f"get-v3-scores-page{page}" for page in range(5)),
    *(
        f"get-v3-scores-bad-{name}"
        for name in ("cursor", "fields", "fromTimestamp", "limit", "orderBy", "userId", "value")
    ),
    "post-score-bad-name-value",
    "post-score-bad-traceId-name-value-dataType",
    "post-score-bad-traceId-observationId-sessionId-name-val",
    "post-score-bad-traceId-value",
)
# The store has no price list, so it cannot return prices per token.
PRICE_FIELDS = {
    *("internalModelId", "modelId", "inputPrice", "outputPrice", "totalPrice"),
    *("usagePricingTierId", "usagePricingTierName"),
}
# LiteLLM uses attributes of another convention, which the store keeps as metadata.
LITELLM_SPANS = ("litellm_request", "raw_gen_ai_request")
LITELLM_FIELDS = {
    *("environment", "model", "providedModelName", "usageDetails", "costDetails"),
    *("inputUsage", "outputUsage", "totalUsage", "inputCost", "outputCost", "totalCost"),
}


@pytest.fixture(scope="module")
def recordings(shared_data: Path) -> dict[str, dict[str, Any]]:
    folder = shared_data / "langfuse-golden"
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def send(store: Store, recording: dict[str, Any]) -> tuple[int, Any]:
    """Send the recorded request to the store; return the status and the body of its response."""
    request = recording["request"]
    response = store.http.request(request["method"], request["url"], json=request["body"])
    return response.status_code, response.json()


def rebuild_scores(store: Store, recordings: dict[str, dict[str, Any]]) -> None:
    scores = [
        score
        for page in range(5)
        for score in recordings[f"get-v3-scores-page{page}"]["response"]["data"]
    ]
    for score in reversed(scores):
        store.set_time(score["timestamp"])
        body = {
            "id": score["id"],
            "name": score["name"],
            "traceId": score["subject"]["id"],
            "value": int(score["value"]),
            "dataType": score["dataType"],
        }
        assert store.http.post("/api/public/scores", json=body).status_code == 200


def rebuild_spans(store: Store, recordings: dict[str, dict[str, Any]]) -> None:
    for row in recordings["get-v2-observations"]["response"]["data"]:
        metadata = dict(row["metadata"])
        own_metadata = {name: metadata.pop(name) for name in list(metadata) if "." not in name}
        sent_attributes: dict[str, dict[str, Any]] = {}
        for owner in ("attributes.", "resourceAttributes.", "scope.attributes."):
            names = [name for name in metadata if name.startswith(owner)]
            sent_attributes[owner] = {
                name.removeprefix(owner): metadata.pop(name) for name in names
            }
        scope = {name.removeprefix("scope."): value for name, value in metadata.items()}
        attributes = sent_attributes["attributes."] | {
            "langfuse.trace.metadata": json.dumps(own_metadata)
        }
        if len(str(attributes.get("metadata", ""))) == 200:
            attributes["metadata"] += "y_alias: cut off in the recording"
        # Attributes of the SDK's spans are returned only as fields.
        if not sent_attributes["attributes."]:
            attributes |= {
                "langfuse.observation.type": row["type"].lower(),
                "langfuse.observation.model.name": row["model"],
                "langfuse.observation.usage_details": json.dumps(row["usageDetails"]),
                "langfuse.observation.cost_details": json.dumps(row["costDetails"]),
                "langfuse.trace.tags": row["tags"],
                "langfuse.version": row["version"],
                "user.id": row["userId"],
                "session.id": row["sessionId"],
            }
            if not row["isRootObservation"] or row["traceName"] != row["name"]:
                attributes["langfuse.trace.name"] = row["traceName"]
        store.set_time(row["createdAt"]).post_spans(
            {
                "traceId": row["traceId"],
                "spanId": row["id"],
                "parentSpanId": row["parentObservationId"] or "",
                "name": row["name"],
                "startTimeUnixNano": to_nanoseconds(row["startTime"]),
                "endTimeUnixNano": to_nanoseconds(row["endTime"]),
                "attributes": attributes,
                "resource": sent_attributes["resourceAttributes."],
                "scope": scope | {"attributes": sent_attributes["scope.attributes."]},
            }
        )


def to_nanoseconds(moment: str) -> str:
    return str(parse_timestamp_ms(moment) * 1_000_000 + 654_321)


def test_every_recording_is_either_served_or_404(recordings: dict[str, Any], store: Store) -> None:
    """A recorded request that is not in `SERVED_RECORDINGS` gets 404."""
    assert set(SERVED_RECORDINGS) <= set(recordings)
    for name in sorted(set(recordings) - set(SERVED_RECORDINGS)):
        status, body = send(store, recordings[name])
        assert (name, status, set(body)) == (name, 404, {"message", "error"})


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [name for name in SERVED_RECORDINGS if "page" not in name and "v2" not in name]
)
def test_the_response_equals_the_recording(
    name: str, recordings: dict[str, Any], store: Store
) -> None:
    status, body = send(store, recordings[name])
    expected = recordings[name]["response"]
    if name == "get-projects":  # the store's own id stands where Langfuse has a person's notes
        assert body["data"][0]["metadata"].pop("twin.store") == store.tables.read_store_id()
    if "-bad-" in name:  # the text of our refusal differs
        body, expected = body["message"], expected["message"]
    assert (status, body) == (recordings[name]["status"], expected)


def test_pages_of_scores_equal_the_recordings(recordings: dict[str, Any], store: Store) -> None:
    rebuild_scores(store, recordings)
    for page in range(5):
        recording = recordings[f"get-v3-scores-page{page}"]
        status, body = send(store, recording)
        assert status == 200
        assert body["meta"] == recording["response"]["meta"]
        for row, expected in zip(body["data"], recording["response"]["data"], strict=True):
            # The recorded server sets updatedAt some seconds after a score arrives.
            assert row | {"updatedAt": ""} == expected | {"updatedAt": ""}


@pytest.mark.parametrize("name", [name for name in SERVED_RECORDINGS if "v2" in name])
def test_observations_equal_the_recordings(
    name: str, recordings: dict[str, Any], store: Store
) -> None:
    rebuild_spans(store, recordings)
    status, body = send(store, recordings[name])
    response = recordings[name]["response"]
    assert (status, body["meta"]) == (200, response["meta"])
    for row, expected in zip(body["data"], response["data"], strict=True):
        assert set(row) == set(expected)
        ignored_fields = LITELLM_FIELDS if row["name"] in LITELLM_SPANS else set[str]()
        compared_fields = expected.keys() - PRICE_FIELDS - ignored_fields
        assert {field: row[field] for field in compared_fields} == {
            field: expected[field] for field in compared_fields
        }


def test_a_posted_score_is_returned(recordings: dict[str, Any], store: Store) -> None:
    body = recordings["post-score"]["request"]["body"]
    send(store, recordings["post-score"])
    row = store.get("v3/scores", id=body["id"], fields="details,subject")["data"][0]
    assert (row["value"], row["comment"], row["metadata"]) == (0.5, "first", {"x": 1})
    assert row["subject"] == {"kind": "trace", "id": body["traceId"]}
    send(store, recordings["delete-score"])
    assert store.get("v3/scores", id=body["id"])["data"] == []
