"""`deploy/aws/twin.yaml`: cfn-lint finds nothing, settings exist, no right has a star."""

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
from twin_resources.processes.programs import stack_programs
from twin_resources.settings import Settings

REGION = {"region_name": "us-east-1"}
LANGFUSE = {"LANGFUSE_HOST", "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"}


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short functions as their name and argument."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {suffix: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _function)


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    return yaml.load(aws_stack.TEMPLATE.read_text(encoding="utf-8"), _Loader)["Resources"]


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        return aws_stack.create(boto3, **REGION)


def test_cfn_lint_finds_nothing() -> None:
    linter = str(Path(sys.executable).with_name("cfn-lint"))
    found = subprocess.run(
        [linter, aws_stack.TEMPLATE], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_each_container_serves_a_program_with_settings_that_exist(
    tasks: dict[str, Any], home: Settings
) -> None:
    settings = home.model_copy(update={name.lower(): "https://lf.example" for name in LANGFUSE})
    programs = {program.name for program in stack_programs(settings)}
    known = {f"TWIN_{name.upper()}" for name in Settings.model_fields} | LANGFUSE | {"AWS_REGION"}
    told: list[dict[str, str]] = []
    for task in tasks.values():
        for container in task["containerDefinitions"]:
            assert container["command"] == ["serve", container["name"]]
            assert container["name"] in programs
            secrets = {entry["name"]: entry.get("valueFrom", "") for entry in container["secrets"]}
            told.append(aws_stack.environment_of(container, secrets))
    assert set(told[0]) <= known
    assert all(environment == told[0] for environment in told), "every program is told the same"
    assert {entry["name"] for entry in tasks["answers"]["containerDefinitions"]} == {
        "gateway", "models", "relay",
    }  # fmt: skip
    worker = {entry["name"] for entry in tasks["worker"]["containerDefinitions"]}
    assert worker == programs - {"chat"}, "an operator's page is started by hand"


def test_a_role_may_do_nothing_that_is_not_named(resources: dict[str, Any]) -> None:
    roles = [found for found in resources.values() if found["Type"] == "AWS::IAM::Role"]
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
            assert actions == ["ecr:GetAuthorizationToken"], "AWS defines no resource for it"


def test_what_holds_data_outlives_the_stack_and_nothing_is_open(resources: dict[str, Any]) -> None:
    assert resources["Bucket"]["DeletionPolicy"] == "Retain"
    assert all(resources["Bucket"]["Properties"]["PublicAccessBlockConfiguration"].values())
    assert resources["Database"]["DeletionPolicy"] == "Snapshot"
    assert resources["Database"]["Properties"]["StorageEncrypted"] is True
    opened = {
        name: [rule.get("CidrIp") for rule in found["Properties"]["SecurityGroupIngress"]]
        for name, found in resources.items()
        if found["Type"] == "AWS::EC2::SecurityGroup"
    }
    assert opened == {
        "LoadBalancerGroup": ["0.0.0.0/0"], "HostGroup": [None], "DatabaseGroup": [None],
    }  # fmt: skip
    assert resources["Logs"]["Properties"]["RetentionInDays"] <= 90


def test_each_alarm_reaches_a_person_and_says_what_to_do(resources: dict[str, Any]) -> None:
    alarms = [found for found in resources.values() if found["Type"] == "AWS::CloudWatch::Alarm"]
    assert len(alarms) == 4
    for alarm in alarms:
        assert alarm["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}]
        assert len(alarm["Properties"]["AlarmDescription"].split(". ")) == 2
