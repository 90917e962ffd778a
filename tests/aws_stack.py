"""The stack of `deploy/aws/twin.yaml`, created in moto, and the environment of its tasks.

Scope: creating the stack, and the environment that ECS would give a container. Out of scope: the
template's correctness (`tests/unit/installation/test_aws_template.py`), starting its tasks
(`tests/live/hosts/test_aws_tasks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conftest import ROOT

TEMPLATE = ROOT / "deploy" / "aws" / "twin.yaml"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:langfuse-abcdef"


def create_stack(
    session: Any, *, model_server_image: str = "", **arguments: Any
) -> dict[str, dict[str, Any]]:
    """Create the stack; return its task definitions by family, without the prefix `twin-`.

    Args:
        session: the boto3 module or a boto3 session.
        model_server_image: image of the vLLM server; without one, the hosts answer themselves.
        arguments: passed to each client.
    """
    certificate = session.client("acm", **arguments).request_certificate(DomainName="twin.example")
    parameters = {
        "Image": f"registry.example/twin@sha256:{'0' * 64}",
        "CertificateArn": certificate["CertificateArn"],
        "LangfuseHost": "http://127.0.0.1:1",
        "LangfuseKeysArn": SECRET,
        "AlarmEmail": "operator@example.org",
        "BaseModel": "tiny",
        "ModelServerImage": model_server_image,
    }
    session.client("cloudformation", **arguments).create_stack(
        StackName="twin",
        TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    ecs = session.client("ecs", **arguments)
    tasks = [
        ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        for arn in ecs.list_task_definitions()["taskDefinitionArns"]
    ]
    return {task["family"].removeprefix("twin-"): task for task in tasks}


def task_environment(container: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that ECS would set, with the secrets' values."""
    plain = {entry["name"]: entry["value"] for entry in container["environment"]}
    return plain | {entry["name"]: secrets[entry["name"]] for entry in container["secrets"]}
