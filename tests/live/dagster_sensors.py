"""Turn off a sensor of a running Dagster that would act before the test does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from twin_resources.dagster_runs import CODE_LOCATION


def stop_sensor(url: str, sensor: str, *, key: str) -> None:
    """Stop a sensor through the webserver at `url`, as the switch in the UI does.

    Args:
        key: the home's admin key.
    """

    def send_query(query: str, variables: Mapping[str, Any]) -> Any:
        response = httpx.post(
            f"{url}/graphql",
            json={"query": query, "variables": variables},
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
            trust_env=False,
        ).json()
        assert "errors" not in response, response
        return response["data"]

    state = send_query(
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
    result = send_query(
        "mutation($id: String) { stopSensor(id: $id) { __typename "
        "... on StopSensorMutationResult { instigationState { status } } } }",
        {"id": state["sensorOrError"]["sensorState"]["id"]},
    )
    assert result["stopSensor"]["instigationState"]["status"] == "STOPPED", result
