"""The receipt tells which step did not happen; the home withholds posts and lets them come."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from twin_cli.commands.demo.home import (
    SETTINGS,
    WITHHELD,
    demo_settings,
    later_folder,
    lay_out,
    let_posts_arrive,
    posts_folder,
    quicker_by,
)
from twin_cli.commands.demo.paid_model import SETTINGS as OF_THE_PAID_MODEL
from twin_cli.commands.demo.paid_model import PaidModelResult, answered_by, billed_nano
from twin_cli.commands.demo.receipt import (
    HURRY,
    PhaseQuality,
    Receipt,
    quality_of,
    receipt_table,
    write_receipt,
)

from tests.simulated_provider.provider_answers import Behaviour
from twin_resources.access.paid_budget import price_of
from twin_resources.authors import Author, read_author
from twin_resources.errors import TwinError
from twin_resources.processes.child_environment import withheld_keys
from twin_resources.processes.programs import simulated_provider, working_folder
from twin_resources.settings import PACES, SIMULATED_MODEL, Settings

CLOSED = Receipt(
    settings=SETTINGS,
    before=PhaseQuality(150, 0.77, "v1"),
    broken=PhaseQuality(32, 0.2, "v2"),
    after=PhaseQuality(40, 0.76, "v3"),
    refused=("stays_on_topic: refused (0.31, needed 0.62).",),
    forced="v2: refused → stable by demo",
    alarms=1,
    runs=1,
    run_id="run",
    gate={"beats_base_model": "holds"},
    trial={"finding": "promote"},
    promoted="v3",
    routed=PaidModelResult(SIMULATED_MODEL, 0.2, 40, "nothing is routed", {"v3": 12}, 5_000, 5_000),
)


def test_a_loop_that_closed_misses_nothing() -> None:
    assert CLOSED.missing() == []


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"refused": ("beats_base_model: refused.",)}, "the gate refused the broken model"),
        ({"forced": ""}, "forced past the gate"),
        ({"broken": PhaseQuality(32, 0.7, "v2")}, "quality fell"),
        ({"alarms": 2}, "the sensor fired once"),
        ({"runs": 0}, "one run trained"),
        ({"trial": {"finding": "undecided"}}, "pairs promoted it"),
        ({"trial": {}, "settings": {HURRY: "60"}}, "pairs promoted it"),
        ({"trial": {}, "promoted": ""}, "pairs promoted it"),
        ({"after": PhaseQuality(40, 0.76, "v2")}, "quality came back"),
        ({"routed": replace(CLOSED.routed, labels=0)}, "labels of the simulated paid model"),
        ({"routed": replace(CLOSED.routed, account_nano=4_999)}, "what the simulated provider"),
        ({"routed": PaidModelResult()}, "what the simulated provider charged"),
    ],
)
def test_a_step_that_did_not_happen_is_named(change: dict[str, object], step: str) -> None:
    missing = replace(CLOSED, **change).missing()  # type: ignore[arg-type]
    assert any(step in said for said in missing)


def test_the_gate_alone_may_release_where_too_few_questions_were_recorded() -> None:
    assert replace(CLOSED, trial={}, settings={"alarm_horizon": "1000"}).missing() == []


def test_nothing_having_happened_misses_every_step() -> None:
    assert len(Receipt(settings={}).missing()) == 11


def test_the_receipt_is_written_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    write_receipt(path, CLOSED)
    document = json.loads(path.read_text())
    assert (document["schema"], document["missing"]) == (1, [])
    assert document["before"] == {"scores": 150, "mean": 0.77, "version": "v1"}
    assert path.stat().st_mode & 0o077 == 0


def test_a_phase_is_named_by_the_version_that_answered_most() -> None:
    assert quality_of([0.5, 1.0, 0.0], ["v1", "v2", "v2"]) == PhaseQuality(3, 0.5, "v2")
    assert quality_of([], []) == PhaseQuality()


FORCED = (
    "OPENAI_BASE_URL", "OPENAI_API_KEY", "TWIN_TEACHER_MODEL",
    "TWIN_JUDGE_MODEL", "NO_PROXY", "no_proxy",
)  # fmt: skip


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (*quicker_by(unhurried=False), *OF_THE_PAID_MODEL, *FORCED)
    for name in names:
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that they are put back
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("own_environment")
def test_unhurried_it_trains_and_releases_as_any_author(tmp_path: Path) -> None:
    settings, usual = demo_settings(tmp_path, unhurried=True), Settings()
    for field in PACES["hurried"].keys() - PACES["demo"].keys():
        assert getattr(settings, field) == getattr(usual, field), field
    assert settings.baseline_values == 150, "or nothing would be noticed today"
    author, ordinary = lay_out(settings, unhurried=True), Author(slug="a", name="A")
    for field in ("recipe", "context_tokens"):
        assert getattr(author, field) == getattr(ordinary, field), field
    assert author.release_mode == "gate"


@pytest.mark.usefixtures("own_environment")
def test_posts_are_withheld_and_arrive_once(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path)
    assert settings.home == tmp_path / "demo"
    assert (settings.baseline_values, settings.auto_retrain) == (150, True)
    author = lay_out(settings)
    there = {path.name for path in posts_folder(settings).rglob("*.md") if path.name[:4].isdigit()}
    waiting = {path.name for path in later_folder(settings).iterdir()}
    assert len(waiting) == WITHHELD
    assert max(waiting) < min(there)  # the oldest
    assert read_author(settings, author.slug).recipe == "smollm2-135m-demo"
    assert sorted(let_posts_arrive(settings)) == sorted(waiting)
    assert let_posts_arrive(settings) == []
    assert lay_out(settings) == author  # laying out again moves nothing back
    assert not list(later_folder(settings).iterdir())


@pytest.mark.usefixtures("own_environment")
def test_nobodys_money_is_spent_whatever_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_PAID_MODEL", "openai/gpt-4o")
    monkeypatch.setenv("TWIN_PAID_BUDGET_PER_DAY", "100")
    monkeypatch.setenv("TWIN_TEACHER_MODEL", "openai/gpt-4o")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://example.com/v1")
    monkeypatch.setenv("NO_PROXY", "intranet.example.com")
    settings = demo_settings(tmp_path)
    assert (settings.paid_model, settings.teacher_model) == (SIMULATED_MODEL, "")
    assert settings.paid_budget_per_day == 0.05
    address = os.environ["OPENAI_BASE_URL"]
    assert address.startswith("http://127.0.0.1:")
    assert "somebody" not in os.environ["OPENAI_API_KEY"]
    assert os.environ["NO_PROXY"] == "intranet.example.com,127.0.0.1"
    demo_settings(tmp_path)
    assert os.environ["OPENAI_BASE_URL"] == address, "all programs name one"


@pytest.mark.usefixtures("own_environment")
def test_the_provider_is_a_program_of_the_demos_stack_alone(tmp_path: Path) -> None:
    assert simulated_provider(Settings(home=tmp_path)) == ()
    settings = demo_settings(tmp_path)
    arguments = simulated_provider(settings)
    assert os.environ["OPENAI_BASE_URL"].endswith(f":{arguments[2]}/v1")
    assert simulated_provider(settings.model_copy(update={"paid_model": "openai/gpt-x"})) == ()
    assert str(settings.simulated_bill_path) in arguments
    held = withheld_keys(settings, needed_for=(), environ=os.environ)
    assert "OPENAI_API_KEY" in held, "programs that ask nobody"
    held = withheld_keys(settings, needed_for=(settings.paid_model,), environ=os.environ)
    assert "OPENAI_API_KEY" not in held


def test_the_simulated_model_costs_what_its_provider_charges() -> None:
    usual = Behaviour()
    told = price_of(SIMULATED_MODEL, prompt_tokens=1_000, answer_tokens=100)
    assert told == pytest.approx((1_000 * usual.prompt_nano + 100 * usual.answer_nano) / 1e9)


def test_the_receipt_calls_the_paid_model_simulated(tmp_path: Path) -> None:
    bill = tmp_path / "bill.jsonl"
    bill.write_text('{"nano": 3000}\n{"nano": 2000}\n', encoding="utf-8")
    assert billed_nano(bill) == CLOSED.routed.bill_nano
    assert billed_nano(tmp_path / "none.jsonl") == 0
    assert list(answered_by(["paid", "v3", "paid"]).items()) == [("v3", 1), ("paid", 2)]
    said = CLOSED.routed.rows()
    assert "simulated" in said["paid model"]
    assert said["simulated bill"] == "$0.0000050; the account says $0.0000050"
    assert PaidModelResult().rows() == {}
    written = receipt_table(CLOSED).columns[0].cells
    assert "simulated bill" in list(written)


@pytest.mark.usefixtures("own_environment")
def test_without_a_checkout_the_demo_says_where_its_provider_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin_cli.commands.demo.paid_model.working_folder", lambda: tmp_path)
    with pytest.raises(TwinError, match="run the demo") as refused:
        demo_settings(tmp_path)
    assert "up.sh --demo-loop" in refused.value.next_step


@pytest.mark.usefixtures("own_environment")
def test_the_stack_starts_the_provider_from_the_checkout(tmp_path: Path) -> None:
    """As its supervisor does: the module by its name, in the folder that its programs run in."""
    settings = demo_settings(tmp_path)
    command = [sys.executable, "-m", *simulated_provider(settings)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        command, cwd=working_folder(), env=environment, stdout=subprocess.PIPE, text=True
    ) as provider:
        assert provider.stdout is not None
        address = provider.stdout.readline().strip()
        try:
            assert address == os.environ["OPENAI_BASE_URL"]
            assert httpx.get(f"{address}/models").json()["data"][0]["id"] == "paid"
        finally:
            provider.terminate()
