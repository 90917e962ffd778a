"""Sensors of a running Dagster, for tests that one of them would anticipate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from twin_resources.dagster_runs import CODE_LOCATION


def turn_off(url: str, sensor: str, *, key: str) -> None:
    """Stop a sensor of the webserver at `url`, as its switch in the UI does.

    Args:
        key: the home's admin key.
    """

    def ask(query: str, variables: Mapping[str, Any]) -> Any:
        answer = httpx.post(
            f"{url}/graphql",
            json={"query": query, "variables": variables},
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
            trust_env=False,
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]

    found = ask(
        "query($at: SensorSelector!) { sensorOrError(sensorSelector: $at) { __typename "
        "... on Sensor { sensorState { id } } } }",
        {
            "at": {
                "sensorName": sensor,
                "repositoryName": "__repository__",
                "repositoryLocationName": CODE_LOCATION,
            }
        },
    )
    stopped = ask(
        "mutation($id: String) { stopSensor(id: $id) { __typename "
        "... on StopSensorMutationResult { instigationState { status } } } }",
        {"id": found["sensorOrError"]["sensorState"]["id"]},
    )
    assert stopped["stopSensor"]["instigationState"]["status"] == "STOPPED", stopped
