"""Test the environment variables that a process of the stack inherits."""

from __future__ import annotations

import pytest

from twin_resources.processes.child_environment import (
    TELEMETRY_OFF,
    child_environment,
    list_provider_prefixes,
    list_withheld_variables,
)
from twin_resources.settings import Settings

ENVIRONMENT = {
    "PATH": "/bin",
    "HOME": "/home/x",
    "LC_ALL": "C.UTF-8",
    "OPENAI_API_KEY": "sk-1",
    "ANTHROPIC_API_KEY": "sk-2",
    "AZURE_API_KEY": "sk-3",
    "SOME_NEW_PROVIDER_TOKEN": "sk-4",
    "GITHUB_TOKEN": "sk-5",
    "HF_TOKEN": "hf",
    "AWS_SECRET_ACCESS_KEY": "aws",
    "TWIN_GATEWAY_PORT": "1",
    "TWIN_TRACES_SECRET_KEY": "of another stack",
}


def build_variables(settings: Settings, **changes: str) -> dict[str, str]:
    return child_environment(settings, instance="i1", environ=ENVIRONMENT | changes)


def test_keys_in_the_environment_are_not_inherited(home: Settings) -> None:
    variables = build_variables(home)
    assert not [name for name, value in variables.items() if value.startswith(("sk-", "hf", "aws"))]
    assert variables["PATH"] == "/bin"
    assert variables["LC_ALL"] == "C.UTF-8"
    assert "TWIN_TRACES_SECRET_KEY" not in variables, "another stack's env file was sourced"


def test_settings_override_the_environment(home: Settings) -> None:
    variables = build_variables(home.model_copy(update={"gateway_port": 4007}))
    assert variables["TWIN_GATEWAY_PORT"] == "4007"
    assert variables["TWIN_INSTANCE"] == "i1"
    assert variables["DAGSTER_HOME"] == str(home.home / "dagster")


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"teacher_model": "anthropic/claude-x"}, {"ANTHROPIC_API_KEY"}),
        ({"judge_model": "gpt-5"}, {"OPENAI_API_KEY"}),
        ({"paid_model": "openai/gpt-5"}, set()),  # without a budget there is no paid route
        ({"paid_model": "openai/gpt-5", "paid_budget_per_day": 1.0}, {"OPENAI_API_KEY"}),
        ({"tables_uri": "s3://bucket/twin"}, {"AWS_SECRET_ACCESS_KEY"}),
        ({"base_model": "org/gated-model"}, {"HF_TOKEN"}),
    ],
)
def test_only_variables_of_named_models_are_inherited(
    home: Settings, update: dict[str, object], expected: set[str]
) -> None:
    variables = build_variables(home.model_copy(update=update))
    secret_names = {
        name for name, value in ENVIRONMENT.items() if value.startswith(("sk-", "hf", "aws"))
    }
    assert secret_names & set(variables) == expected


def test_every_telemetry_switch_is_off_whatever_the_environment_contains(home: Settings) -> None:
    variables = build_variables(home, DO_NOT_TRACK="0", RAY_USAGE_STATS_ENABLED="1")
    assert {name: variables[name] for name in TELEMETRY_OFF} == dict(TELEMETRY_OFF)


def test_the_hub_is_offline_only_while_both_models_are_embedded(home: Settings) -> None:
    assert build_variables(home)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in build_variables(
        home.model_copy(update={"base_model": "org/model"})
    )


def test_only_the_program_that_calls_a_provider_sees_its_key(home: Settings) -> None:
    settings = home.model_copy(
        update={
            "teacher_model": "anthropic/claude-x",
            "paid_model": "openai/gpt-5",
            "paid_budget_per_day": 1.0,
        }
    )
    withheld_from_gateway = list_withheld_variables(
        settings, needed_for=["openai/gpt-5"], environ=ENVIRONMENT
    )
    withheld_from_models = list_withheld_variables(settings, needed_for=[], environ=ENVIRONMENT)
    assert withheld_from_gateway == ("ANTHROPIC_API_KEY",)
    assert set(withheld_from_models) == {"ANTHROPIC_API_KEY", "OPENAI_API_KEY"}


def test_providers_are_read_from_the_model_name() -> None:
    assert list_provider_prefixes(["bedrock/claude"]) == ("AWS_",)
    assert list_provider_prefixes(["claude-x", "", "xai/grok"]) == ("ANTHROPIC_", "XAI_")
    assert list_provider_prefixes(["a-local-name"]) == ()
