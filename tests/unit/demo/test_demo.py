"""Test that the receipt names missing steps, and that posts are withheld until their release."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from twin_cli.commands.demo.home import (
    DEMO_SETTINGS,
    REMOVED_VARIABLES,
    WITHHELD_POST_COUNT,
    create_demo_author,
    load_demo_settings,
    posts_folder,
    release_withheld_posts,
    withheld_posts_folder,
)
from twin_cli.commands.demo.receipt import PhaseQuality, Receipt, write_receipt

from twin_resources.authors import read_author

COMPLETE_RECEIPT = Receipt(
    settings=DEMO_SETTINGS,
    before=PhaseQuality(150, 0.77, "v1"),
    broken=PhaseQuality(32, 0.2, "v2"),
    after=PhaseQuality(40, 0.76, "v3"),
    refused=("stays_on_topic: refused (0.31, needed 0.62).",),
    forced="v2: refused → stable by demo",
    alarms=1,
    runs=1,
    run_id="run",
    trial="promote",
    promoted="v3",
)


def test_a_complete_loop_has_no_missing_step_and_an_empty_one_lacks_every_step() -> None:
    assert COMPLETE_RECEIPT.missing_steps() == []
    assert len(Receipt(settings={}).missing_steps()) == 9


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"refused": ("beats_base_model: refused.",)}, "the gate refused the broken model"),
        ({"forced": ""}, "forced past the gate"),
        ({"broken": PhaseQuality(32, 0.7, "v2")}, "quality fell"),
        ({"alarms": 2}, "the sensor fired once"),
        ({"runs": 0}, "one run trained"),
        ({"trial": "undecided"}, "pairs promoted it"),
        ({"trial": ""}, "pairs promoted it"),
        ({"after": PhaseQuality(40, 0.76, "v2")}, "quality recovered"),
    ],
)
def test_a_missing_step_is_named(change: dict[str, object], step: str) -> None:
    missing = replace(COMPLETE_RECEIPT, **change).missing_steps()  # type: ignore[arg-type]
    assert any(step in message for message in missing)


def test_only_the_owner_can_read_the_receipt(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    write_receipt(path, COMPLETE_RECEIPT)
    document = json.loads(path.read_text())
    assert (document["schema"], document["missing"]) == (1, [])
    assert document["before"] == {"scores": 150, "mean": 0.77, "version": "v1"}
    assert path.stat().st_mode & 0o077 == 0


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (*DEMO_SETTINGS, *REMOVED_VARIABLES)
    for name in names:
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that monkeypatch restores them
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("clean_environment")
def test_posts_are_withheld_and_arrive_once(tmp_path: Path) -> None:
    settings = load_demo_settings(tmp_path)
    assert settings.home == tmp_path / "demo"
    assert (settings.baseline_values, settings.auto_retrain) == (150, True)
    author = create_demo_author(settings)
    posts = {path.name for path in posts_folder(settings).rglob("*.md") if path.name[:4].isdigit()}
    withheld = {path.name for path in withheld_posts_folder(settings).iterdir()}
    assert len(withheld) == WITHHELD_POST_COUNT
    assert max(withheld) < min(posts)  # the oldest
    assert read_author(settings, author.slug).recipe == "smollm2-135m-demo"
    assert sorted(release_withheld_posts(settings)) == sorted(withheld)
    assert release_withheld_posts(settings) == []
    assert create_demo_author(settings) == author  # a second call withholds nothing again
    assert not list(withheld_posts_folder(settings).iterdir())


@pytest.mark.usefixtures("clean_environment")
def test_the_demo_uses_no_paid_model_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_PAID_BUDGET_PER_DAY", "100")
    for name in REMOVED_VARIABLES:
        monkeypatch.setenv(name, "openai/gpt-4o")
    settings = load_demo_settings(tmp_path)
    assert (settings.paid_model, settings.teacher_model, settings.judge_model) == ("", "", "")
    assert not settings.has_paid_route
