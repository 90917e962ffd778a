"""Test `deploy/aws/twin.yaml`: lint, programs and settings, permissions, storage and alarms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws

from tests import aws_stack
from twin_resources.processes.programs import prepare_programs
from twin_resources.settings import Settings

REGION = {"region_name": "us-east-1"}
LANGFUSE = {"LANGFUSE_HOST", "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"}


class _Loader(yaml.SafeLoader):
    """A loader that reads the short form of a CloudFormation function as {name: argument}."""


def _construct_function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _construct_function)


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    return yaml.load(aws_stack.TEMPLATE.read_text(encoding="utf-8"), _Loader)["Resources"]


@pytest.fixture(autouse=True)
def _aws_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


@pytest.fixture
def tasks() -> dict[str, Any]:
    with mock_aws():
        return aws_stack.create_stack(boto3, **REGION)


@pytest.mark.long
def test_cfn_lint_reports_nothing() -> None:
    linter = str(Path(sys.executable).with_name("cfn-lint"))
    completed = subprocess.run(
        [linter, aws_stack.TEMPLATE], capture_output=True, text=True, check=False
    )
    assert (completed.returncode, completed.stdout) == (0, "")


@pytest.mark.long
def test_each_container_serves_a_program_with_existing_settings(
    tasks: dict[str, Any], home: Settings
) -> None:
    settings = home.model_copy(update={name.lower(): "https://lf.example" for name in LANGFUSE})
    programs = {program.name for program in prepare_programs(settings)}
    known_variables = (
        {f"TWIN_{name.upper()}" for name in Settings.model_fields} | LANGFUSE | {"AWS_REGION"}
    )
    environments: list[dict[str, str]] = []
    for task in tasks.values():
        for container in task["containerDefinitions"]:
            assert container["command"] == ["serve", container["name"]]
            assert container["name"] in programs
            assert [mount["containerPath"] for mount in container["mountPoints"]] == [
                "/twin", "/twin/host",
            ]  # fmt: skip
            secrets = {entry["name"]: entry.get("valueFrom", "") for entry in container["secrets"]}
            environments.append(aws_stack.task_environment(container, secrets))
    assert set(environments[0]) <= known_variables
    assert all(environment == environments[0] for environment in environments), "they differ"
    assert {entry["name"] for entry in tasks["answers"]["containerDefinitions"]} == {
        "gateway", "models", "relay",
    }  # fmt: skip
    worker_programs = {entry["name"] for entry in tasks["worker"]["containerDefinitions"]}
    assert worker_programs == programs - {"chat"}, "the worker starts other programs"


@pytest.mark.long
def test_a_model_server_is_reached_by_its_named_routes_alone() -> None:
    with mock_aws():
        image = f"vllm/vllm-openai@sha256:{'0' * 64}"
        served = aws_stack.create_stack(boto3, model_server_image=image, **REGION)
        balancers = boto3.client("elbv2", **REGION)
        [balancer] = [
            item
            for item in balancers.describe_load_balancers()["LoadBalancers"]
            if item["Scheme"] == "internal"
        ]
        [listener] = balancers.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])[
            "Listeners"
        ]
        rules = balancers.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
    [default] = [rule for rule in rules if rule["IsDefault"]]
    [named] = [rule for rule in rules if not rule["IsDefault"]]
    assert default["Actions"][0]["FixedResponseConfig"]["StatusCode"] == "404"
    assert named["Conditions"][0]["PathPatternConfig"]["Values"] == [
        "/v1/*", "/health", "/version",
    ]  # fmt: skip
    [vllm] = served["vllm"]["containerDefinitions"]
    assert vllm["command"][:3] == ["tiny", "--served-model-name", "tiny"]
    assert [entry["name"] for entry in vllm["secrets"]] == ["VLLM_API_KEY"]
    for container in served["answers"]["containerDefinitions"]:
        secrets = {entry["name"]: "a secret" for entry in container["secrets"]}
        environment = aws_stack.task_environment(container, secrets)
        assert environment["TWIN_MODEL_SERVER_URL"] == f"http://{balancer['DNSName']}:8000/v1"
        assert environment["TWIN_MODEL_SERVER_KEY"] == "a secret"


def test_roles_have_only_named_actions(resources: dict[str, Any]) -> None:
    roles = [resource for resource in resources.values() if resource["Type"] == "AWS::IAM::Role"]
    statements = [
        statement
        for role in roles
        for policy in role["Properties"].get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    assert len(statements) > 4
    for statement in statements:
        actions = statement["Action"]
        actions = [actions] if isinstance(actions, str) else actions
        assert not any("*" in action for action in actions), actions
        if statement["Resource"] == "*":
            assert all(
                action == "ecr:GetAuthorizationToken" or action.startswith("ssmmessages:")
                for action in actions
            ), "this action needs a resource"


def test_data_outlives_the_stack_and_only_the_balancer_is_public(resources: dict[str, Any]) -> None:
    assert resources["Bucket"]["DeletionPolicy"] == "Retain"
    assert all(resources["Bucket"]["Properties"]["PublicAccessBlockConfiguration"].values())
    assert resources["Home"]["DeletionPolicy"] == "Retain"
    assert resources["Home"]["Properties"]["Encrypted"] is True
    assert resources["Database"]["DeletionPolicy"] == "Snapshot"
    assert resources["Database"]["Properties"]["StorageEncrypted"] is True
    ingress = {
        name: [rule.get("CidrIp") for rule in resource["Properties"]["SecurityGroupIngress"]]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::EC2::SecurityGroup"
    }
    assert ingress == {
        "LoadBalancerGroup": ["0.0.0.0/0"], "HostGroup": [None], "DatabaseGroup": [None],
        "HomeGroup": [None], "ModelBalancerGroup": [None], "ModelServerGroup": [None],
    }  # fmt: skip
    assert resources["Logs"]["Properties"]["RetentionInDays"] <= 90


def test_each_alarm_notifies_a_person_and_has_advice(resources: dict[str, Any]) -> None:
    alarms = [item for item in resources.values() if item["Type"] == "AWS::CloudWatch::Alarm"]
    assert len(alarms) == 4
    for alarm in alarms:
        assert alarm["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}]
        assert len(alarm["Properties"]["AlarmDescription"].split(". ")) == 2
