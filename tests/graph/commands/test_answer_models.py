"""An answer model in the commands: which model answers, is tuned, and can be exported."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands.answer_models import require_consent, sync_answer_model
from twin_cli.commands.author_progress import AuthorProgress
from twin_cli.commands.outcome import OutcomeCode, open_registry, read_recorded_result
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.status import collect_status
from twin_cli.commands.training import plan_training, report_result
from twin_cli.commands.versions import run_export, run_release, run_versions

from tests.model_versions import register_version
from twin_resources.authors import Author, read_author, write_author
from twin_resources.errors import TwinError
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.weights.answer_model import parse_name

NAME = "http://127.0.0.1:9/v1#large"
ADA = Author("ada", "Ada", answer_model=NAME, consent="2026-01-01: by mail")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    write_author(settings, ADA)
    return settings


@pytest.fixture
def registry(settings: Settings) -> Registry:
    registry = open_registry(settings)
    register(registry, "named", kind="answer_model")
    registry.move("ada", 1, "stable", actor="command:jo", reason="named", force=True)
    return registry


def register(registry: Registry, checkpoint: str, kind: str = "tuned") -> None:
    is_answer_model = kind == "answer_model"
    register_version(
        registry,
        "ada",
        checkpoint,
        folder="" if is_answer_model else "/c",
        base=NAME if is_answer_model else "/b",
        base_gguf="" if is_answer_model else "/b.gguf",
        dataset_version="" if is_answer_model else "d",
        kind="answer_model" if is_answer_model else "tuned",
    )


def record_verdict(registry: Registry, checkpoint: str, outcome: str = "passed") -> None:
    claim = GateClaim("beats_base_model", outcome == "passed", 30.0, 32.0, "perplexity")
    registry.record_verdict(
        Verdict(
            "ada",
            checkpoint,
            "gate-1",
            "passed" if outcome == "passed" else "failed",
            (claim,),
            "2026-01-01T00:00:00+00:00",
        )
    )


def read_output(console: Console) -> str:
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return " ".join(stream.getvalue().split())


def create_console() -> Console:
    return Console(file=io.StringIO(), width=400)


def test_an_answer_model_does_not_count_as_a_training(
    settings: Settings, registry: Registry
) -> None:
    assert read_recorded_result(settings, "ada") is None
    plan = plan_training(
        settings, "ada", AuthorProgress(kept=50, words=20_000), is_enabled=True, retrain=False
    )
    assert plan.state == "expected"


@pytest.mark.parametrize(
    ("to", "outcome", "expected"),
    [
        ("shadow", OutcomeCode.TUNED, "on trial against v1: 30 of about 80 pairs"),
        ("parked", OutcomeCode.REFUSED, "not beaten v1: 30 of about 80 pairs"),
        ("rolled_back", OutcomeCode.REFUSED, "not beaten v1: 30 of about 80 pairs"),
    ],
)
def test_a_passed_version_is_reported_with_its_trial(
    settings: Settings, registry: Registry, to: str, outcome: OutcomeCode, expected: str
) -> None:
    register(registry, "h2")
    record_verdict(registry, "h2")
    registry.move(
        "ada", 2, "shadow", actor="r", reason="30 of about 80 pairs", gate_version="gate-1"
    )
    if to == "parked":
        registry.move("ada", 2, "parked", actor="r", reason="30 of about 80 pairs")
    elif to == "rolled_back":
        registry.move("ada", 2, "rolled_back", actor="r", reason="30 of about 80 pairs")
    result = read_recorded_result(settings, "ada")
    assert result is not None
    assert (result.outcome, result.version) == (outcome, None)
    console = create_console()
    report_result(result, display=ProgressDisplay(console=console, verbose=True))
    assert expected in read_output(console)
    assert f"the answer model (v1, {NAME})" in read_output(console)
    assert "quotations from the posts" not in read_output(console)


def test_a_refused_version_replaces_nothing(settings: Settings, registry: Registry) -> None:
    register(registry, "h2")
    record_verdict(registry, "h2", "failed")
    result = read_recorded_result(settings, "ada")
    assert result is not None
    assert result.outcome is OutcomeCode.REFUSED
    assert result.fallback_description.startswith("the answer model (v1")


def test_commands_distinguish_it_from_a_tuned_one(settings: Settings, registry: Registry) -> None:
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
                verify=True,
                as_json=False,
                console=create_console(),
            )


def test_a_version_on_trial_is_released_by_hand(settings: Settings, registry: Registry) -> None:
    register(registry, "h2")
    record_verdict(registry, "h2")
    registry.move("ada", 2, "shadow", actor="r", reason="passed", gate_version="gate-1")
    run_release(settings, "v2", author="ada", reason="it will do", console=create_console())
    assert [item.state for item in registry.versions("ada")] == ["retired", "stable"]
    assert registry.get("ada", 2).forced


def test_it_is_removed_when_the_author_names_none(settings: Settings, registry: Registry) -> None:
    display = ProgressDisplay(console=create_console())
    ada = Author("ada", "Ada")
    assert (
        sync_answer_model(settings, ada, previous_model=NAME, instance="", display=display) is None
    )
    assert registry.stable_version("ada") is None
    assert read_recorded_result(settings, "ada") is None


def test_an_unreachable_address_changes_no_version(settings: Settings, registry: Registry) -> None:
    console = create_console()
    display = ProgressDisplay(console=console)
    stable = sync_answer_model(settings, ADA, previous_model=NAME, instance="", display=display)
    assert stable == registry.get("ada", 1)
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
    remote_model = parse_name("https://models.example/v1#large")
    with pytest.raises(TwinError, match="no line `consent`"):
        require_consent(Author("ada", "Ada"), remote_model)
    consent = "2026-01-01: by mail"
    with pytest.raises(TwinError, match="paid = false"):
        require_consent(Author("ada", "Ada", consent=consent, paid=False), remote_model)
    require_consent(Author("ada", "Ada", consent=consent), remote_model)
