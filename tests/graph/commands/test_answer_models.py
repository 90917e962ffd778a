"""Test the commands for an author with an answer model: outcome, status, export and release."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from twin_cli.commands.answer_models import (
    require_consent,
    start_prose_measurement,
    sync_answer_model,
)
from twin_cli.commands.author_progress import AuthorProgress, TrainingState
from twin_cli.commands.outcome import OutcomeCode, open_registry, read_recorded_outcome
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.status import collect_status
from twin_cli.commands.training import plan_training, report_outcome
from twin_cli.commands.versions import run_export, run_release, run_versions

from tests.model_versions import register_version
from twin_resources.authors import Author, read_author, write_author
from twin_resources.errors import TwinError
from twin_resources.registry.moves import GateClaim, Outcome, Verdict, VersionState
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings

NAME = "http://127.0.0.1:9/v1#large"
ADA = Author("ada", "Ada", answer_model=NAME, consent="2026-01-01: by mail")
AGREED, NOT_AGREED = ADA, replace(ADA, consent="")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    write_author(settings, ADA)
    return settings


@pytest.fixture
def registry(settings: Settings) -> Registry:
    registry = open_registry(settings)
    register_version(
        registry, "ada", "named", base=NAME, base_gguf="", dataset_version="", kind="answer_model"
    )
    registry.move("ada", 1, "stable", actor="command:jo", reason="named", force=True)
    return registry


def register_tuned_version(registry: Registry) -> None:
    register_version(registry, "ada", "h2", folder="/c", base="/b", base_gguf="/b.gguf")


def record_verdict(registry: Registry, outcome: Outcome = "passed") -> None:
    claim = GateClaim("beats_base_model", outcome == "passed", 30.0, 32.0, "perplexity")
    created_at = "2026-01-01T00:00:00+00:00"
    registry.record_verdict(Verdict("ada", "h2", "gate-1", outcome, (claim,), created_at))


def read_output(console: Console) -> str:
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return " ".join(stream.getvalue().split())


def create_console() -> Console:
    return Console(file=io.StringIO(), width=400)


def test_an_answer_model_does_not_count_as_a_training(
    settings: Settings, registry: Registry
) -> None:
    assert read_recorded_outcome(settings, "ada") is None
    plan = plan_training(
        settings, AGREED, AuthorProgress(kept=50, words=20_000), is_enabled=True, is_forced=False
    )
    assert plan.state == "expected"


@pytest.mark.parametrize(
    ("author", "former", "is_enabled", "is_forced", "state", "said"),
    [
        # the choice is kept until another one is made
        (AGREED, "not_wanted", None, False, "not_wanted", "the choice is kept"),
        (AGREED, "", False, False, "not_wanted", "the choice is kept"),
        (AGREED, "not_wanted", True, False, "expected", ""),
        (AGREED, "not_wanted", None, True, "expected", ""),
        (AGREED, "no_consent", None, False, "expected", ""),
        (AGREED, "", None, False, "expected", ""),
        # nothing is trained without consent, whatever is asked for
        (NOT_AGREED, "", None, False, "no_consent", "no line `consent` in authors/ada.toml"),
        (NOT_AGREED, "", True, True, "no_consent", "twin up --consent"),
        (NOT_AGREED, "not_wanted", None, False, "not_wanted", "twin up --train"),
    ],
)
def test_nothing_is_trained_unasked_or_without_consent(
    settings: Settings,
    registry: Registry,
    author: Author,
    former: TrainingState,
    is_enabled: bool | None,
    is_forced: bool,
    state: TrainingState,
    said: str,
) -> None:
    progress = AuthorProgress(kept=50, words=20_000, training=former)
    plan = plan_training(settings, author, progress, is_enabled=is_enabled, is_forced=is_forced)
    assert plan.state == state
    assert (plan.outcome is None) is (state == "expected")
    if plan.outcome is not None:
        console = create_console()
        report_outcome(plan.outcome, display=ProgressDisplay(console))
        assert "not trained: quotations from the posts will keep answering" in read_output(console)
        assert said in read_output(console)


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("shadow", OutcomeCode.TUNED, "on trial against v1: 30 of about 80 pairs"),
        ("parked", OutcomeCode.REFUSED, "not beaten v1: 30 of about 80 pairs"),
        ("rolled_back", OutcomeCode.REFUSED, "not beaten v1: 30 of about 80 pairs"),
    ],
)
def test_a_version_that_passed_the_gate_is_reported_with_its_trial(
    settings: Settings, registry: Registry, state: VersionState, code: OutcomeCode, expected: str
) -> None:
    register_tuned_version(registry)
    record_verdict(registry)
    registry.move(
        "ada", 2, "shadow", actor="r", reason="30 of about 80 pairs", gate_version="gate-1"
    )
    if state != "shadow":
        registry.move("ada", 2, state, actor="r", reason="30 of about 80 pairs")
    outcome = read_recorded_outcome(settings, "ada")
    assert outcome is not None
    assert (outcome.code, outcome.version) == (code, None)
    console = create_console()
    report_outcome(outcome, display=ProgressDisplay(console=console, verbose=True))
    assert expected in read_output(console)
    assert f"the answer model (v1, {NAME})" in read_output(console)
    assert "quotations from the posts" not in read_output(console)


def test_a_refused_version_replaces_nothing(settings: Settings, registry: Registry) -> None:
    register_tuned_version(registry)
    record_verdict(registry, "failed")
    outcome = read_recorded_outcome(settings, "ada")
    assert outcome is not None
    assert outcome.code is OutcomeCode.REFUSED
    assert outcome.fallback_description.startswith("the answer model (v1")


def test_commands_distinguish_an_answer_model(settings: Settings, registry: Registry) -> None:
    console = create_console()
    run_versions(settings, author="ada", console=console)
    assert f"stable answer model {NAME}" in read_output(console)
    console = create_console()
    run_versions(settings, author="ada", console=console, as_json=True)
    assert json.loads(read_output(console))["versions"][0]["kind"] == "answer_model"
    assert collect_status(settings).authors == {"ada": f"v1, answer model {NAME}"}
    for version in ("", "v1"):
        with pytest.raises(TwinError, match="it is an answer model, which was not trained here"):
            run_export(
                settings,
                version,
                author="ada",
                export_format="gguf",
                output_folder=None,
                dtype="float16",
                as_json=False,
                console=create_console(),
            )


def test_a_version_on_trial_is_released_manually(settings: Settings, registry: Registry) -> None:
    register_tuned_version(registry)
    record_verdict(registry)
    registry.move("ada", 2, "shadow", actor="r", reason="passed", gate_version="gate-1")
    run_release(settings, "v2", author="ada", reason="it will do", console=create_console())
    assert [item.state for item in registry.versions("ada")] == ["retired", "stable"]
    assert registry.get("ada", 2).forced


def test_an_answer_model_is_removed_with_its_setting(
    settings: Settings, registry: Registry
) -> None:
    ada, display = Author("ada", "Ada"), ProgressDisplay(console=create_console())
    assert (
        sync_answer_model(settings, ada, previous_model=NAME, instance="", display=display) is None
    )
    assert registry.stable_version("ada") is None
    assert read_recorded_outcome(settings, "ada") is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "a run is launched"),
        (0.05, "quotations and prose"),
        (0.62, "quotations alone: 62 % of sentences unsupported, limit 10 %"),
    ],
)
def test_an_answer_models_prose_is_measured_once(
    settings: Settings, registry: Registry, value: float | None, said: str
) -> None:
    version = registry.get("ada", 1)
    passed = None if value is None else value <= 0.1
    claim = GateClaim("says_what_the_posts_say", passed, value, 0.1, "", blocks="voice")
    verdict = Verdict("ada", version.checkpoint, "gate-1", "not_decided", (claim,), "2026-01-01")
    registry.record_verdict(verdict)
    console = create_console()
    display = ProgressDisplay(console=console, verbose=True)
    no_dagster = settings.model_copy(update={"dagster_port": 9})
    stack: Any = SimpleNamespace(settings=no_dagster)
    if value is None:
        with pytest.raises(TwinError, match=r"127\.0\.0\.1:9"):
            start_prose_measurement(stack, version, display=display)
        return
    start_prose_measurement(stack, version, display=display)
    assert f"v1, {NAME}: {said}" in read_output(console)


def test_an_unreachable_address_changes_no_version(settings: Settings, registry: Registry) -> None:
    console = create_console()
    display = ProgressDisplay(console=console)
    stable_version = sync_answer_model(
        settings, ADA, previous_model=NAME, instance="", display=display
    )
    assert stable_version == registry.get("ada", 1)
    assert "Connection refused" in read_output(console)
    remote_author = replace(ADA, answer_model="http://127.0.0.1:9/v1#other")
    write_author(settings, remote_author)
    with pytest.raises(TwinError, match="Connection refused"):
        sync_answer_model(
            settings, remote_author, previous_model=NAME, instance="", display=display
        )
    assert [item.state for item in registry.versions("ada")] == ["stable"]
    assert read_author(settings, "ada") == ADA, "the unreachable model is still named"


def test_a_remote_address_requires_the_authors_consent(settings: Settings) -> None:
    remote_model = "https://models.example/v1#large"
    with pytest.raises(TwinError, match="no line `consent`"):
        require_consent(Author("ada", "Ada"), remote_model)
    consent = "2026-01-01: by mail"
    with pytest.raises(TwinError, match="paid = false"):
        require_consent(Author("ada", "Ada", consent=consent, paid=False), remote_model)
    require_consent(Author("ada", "Ada", consent=consent), remote_model)
