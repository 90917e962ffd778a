"""Test how settings and secrets are read, and that secrets stay private."""

from __future__ import annotations

import dataclasses
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from twin_resources.errors import TwinError
from twin_resources.settings import (
    CONSTANTS,
    PACES,
    Settings,
    load_secrets,
    load_settings,
)


def test_secrets_are_private_and_survive_a_race(home: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: load_secrets(home), range(16)))
    assert len({dataclasses.astuple(secrets) for secrets in loaded}) == 1
    path = home.home / "secrets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert loaded[0].gateway_key not in repr(loaded[0])


def test_paid_route_needs_model_and_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_PAID_MODEL", "openai/gpt-x")
    assert not load_settings().has_paid_route
    monkeypatch.setenv("TWIN_PAID_BUDGET_PER_DAY", "2.5")
    assert load_settings().has_paid_route


def test_training_has_at_least_one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_TRAIN_RANKS", "0")
    with pytest.raises(ValidationError, match="train_ranks"):
        load_settings()


def test_an_unknown_pace_is_refused_with_the_valid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_PACE", "quick")
    with pytest.raises(TwinError, match="demo"):
        load_settings()


def test_a_constant_depends_on_the_pace_but_not_on_a_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWIN_MARGIN", "0.3")
    assert Settings().margin == 0.1
    monkeypatch.setenv("TWIN_PACE", "demo")
    assert (Settings().margin, Settings().trial_prompts) == (0.2, 60)
    assert Settings(margin=0.25).margin == 0.25
    for pace in PACES.values():
        assert pace.keys() <= CONSTANTS
