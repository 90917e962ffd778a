"""Test that a program replaces the process of `twin serve` and gets only its own settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from twin_cli.commands.serving_command import run_serve

from twin_resources.errors import TwinError
from twin_resources.settings import Settings


@pytest.fixture
def execve_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Record the calls of `os.execve` instead of replacing the test's process."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    return calls


def test_the_gateway_gets_its_command_and_no_dagster_home(
    tmp_path: Path, execve_calls: list[tuple[Any, ...]]
) -> None:
    settings = Settings(home=tmp_path / "home", gateways=3)
    run_serve(settings, "gateway")
    [(executable, command, environment)] = execve_calls
    assert executable == sys.executable
    assert command[1:] == ("-m", "twin_resources.gateway", "--processes", "3")
    assert environment["TWIN_HOME"] == str(settings.home)
    assert environment["PYTHONSAFEPATH"] == "1"
    assert not (settings.home / "dagster").exists()


def test_a_provider_key_is_withheld_from_a_program_that_does_not_call_it(
    tmp_path: Path, execve_calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a")
    settings = Settings(
        home=tmp_path, paid_model="openai/gpt-4o-mini", paid_budget_per_day=1.0, budget_per_day=1.0
    )
    for program in ("gateway", "models"):
        run_serve(settings, program)
    assert [environment["OPENAI_API_KEY"] for _, _, environment in execve_calls] == ["sk-a", ""]


def test_an_unknown_program_is_refused_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="gateway, models, relay"):
        run_serve(Settings(home=tmp_path), "gatewy")
