"""Test that simultaneous commands, a full disk and killed processes lose nothing in a home.

The full disk has 64 MB. Another program keeps a core busy, and kills continue for
TWIN_CHAOS_MINUTES, by default 10. The seed and each random choice are printed.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from twin_cli.running import app

from tests.live.chaos.chaos_home import (
    SLUG,
    ChaosHome,
    CommandResult,
    busy_processes,
    parse_key,
    parse_trace_id,
)
from tests.live.chaos.command_pairs import COMMAND_PAIRS, CommandPair
from tests.live.chaos.conftest import LARGE_DISK_MB
from twin_resources.processes.stack import find_stack
from twin_resources.registry.moves import Verdict
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.weights.weights import load_base_model

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

MIN_ROUNDS = 6  # each with one SIGKILL
FREE_BYTES = (0, 4096, 100_000)  # on a full disk
SMALL_DISK_MB = 64
DISK_FULL = "no space left"


@pytest.fixture
def busy_core() -> Iterator[None]:
    """Run another program that keeps a core busy."""
    with busy_processes(1):
        yield


def up_arguments(home: ChaosHome) -> tuple[str, ...]:
    return ("up", "--detach", "--no-train", "--base-model", str(home.settings.base_model))


def ensure_started(home: ChaosHome) -> None:
    """Start the stack if it is not running, and register versions if there are none."""
    if find_stack(home.settings) is None:
        result = home.run_twin(*up_arguments(home))
        home.require_expected_state(result)
        assert result.exit_code == 0, str(result)
    if not home.expected.versions:
        register_versions(home)


def test_each_command_has_a_pair_or_a_reason() -> None:
    commands = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert set(COMMAND_PAIRS) == set(commands)


@pytest.mark.long
def test_two_simultaneous_starts_succeed(chaos: ChaosHome) -> None:
    results = chaos.run_together(up_arguments(chaos), up_arguments(chaos))
    chaos.require_expected_state(*results)
    assert [result.exit_code for result in results] == [0, 0], "\n".join(map(str, results))
    assert sum("already running" in result.output for result in results) == 1
    assert chaos.read_stored_titles() == set(chaos.expected.posts)
    register_versions(chaos)


def register_versions(home: ChaosHome) -> None:
    """Register the base model as three versions: retired, stable, and refused."""
    gguf = str(load_base_model(home.settings).gguf)
    with closing(open_home_state(home.settings)) as state:
        registry = Registry(state, policy_path=home.settings.policy_path)
        for number in (1, 2, 3):
            checkpoint = f"{number:064x}"
            version = registry.register(
                author=SLUG,
                checkpoint=checkpoint,
                folder=str(home.settings.checkpoints_dir / SLUG / str(number)),
                adapter_gguf=None,
                base=home.settings.base_model,
                base_gguf=gguf,
                template="",
                dataset_version="",
            ).version
            now = datetime.now(UTC).isoformat()
            registry.record_verdict(Verdict(SLUG, checkpoint, "gate", "failed", (), now))
            move = {"actor": "test", "reason": "planted"}
            registry.move(SLUG, version, "refused", gate_version="gate", **move)
            if number < 3:
                registry.move(SLUG, version, "stable", force=True, **move)
            home.expected.versions.add(version)


@pytest.mark.long
@pytest.mark.usefixtures("busy_core")
def test_two_of_each_command_can_run_at_the_same_time(chaos: ChaosHome, tmp_path: Path) -> None:
    ensure_started(chaos)
    chaos.write_post()
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "What is a gate for?"}\n{"question": "Who keeps it?"}\n')
    arguments = {
        "QUESTIONS": str(questions),
        "OUT": str(tmp_path / "answers.jsonl"),
        "BACKUP": str(tmp_path / "backup.tar"),
        "EMPTY": str(tmp_path / "empty home"),
    }
    for name, pair in COMMAND_PAIRS.items():
        if isinstance(pair, str):
            continue
        if name == "forget":
            arguments["POST"] = chaos.expect_forgotten(next(iter(chaos.expected.posts)))
        results = run_pair(chaos, pair, arguments)
        if name == "pause":
            chaos.run_twin("pause", SLUG, "--resume")  # either command may have been the last
        if name == "ask":
            arguments["TRACE"] = parse_trace_id(results[0])
        record_success(chaos, *results)
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2
    ensure_started(chaos)
    require_one_stable_version(chaos)


def run_pair(home: ChaosHome, pair: CommandPair, arguments: dict[str, str]) -> list[CommandResult]:
    """Run both commands with placeholders replaced; require the allowed refusals."""
    commands = [
        tuple(arguments.get(word, word) for word in command)
        for command in (pair.first, pair.second)
    ]
    results = home.run_together(*commands)
    home.require_expected_state(*results)
    outputs = "\n".join(map(str, results))
    failed = [result for result in results if result.exit_code]
    assert len(failed) <= (1 if pair.refusal else 0), outputs
    for result in failed:
        assert re.search(pair.refusal, result.output), outputs
    return results


def record_success(home: ChaosHome, *results: CommandResult) -> None:
    """Add the results of successful commands to the expected state."""
    for result in results:
        if result.exit_code:
            continue
        match result.arguments:
            case ("keys", "add", label, *_):
                home.expected.keys[label] = parse_key(result)
            case ("feedback", trace, *_):
                home.expected.votes.add(trace)
            case _:
                pass


def require_one_stable_version(home: ChaosHome) -> None:
    """Require at most one stable version, and the same version in the gateway's policy file.

    A version trained on a forgotten post must not be in the file.
    """
    with closing(open_home_state(home.settings)) as state:
        registry = Registry(state, policy_path=home.settings.policy_path)
        stable = [version for version in registry.versions(SLUG) if version.state == "stable"]
        assert len(stable) <= 1
        policy = read_policy(home.settings.policy_path)
        assert policy is not None
        policy_version = policy.authors[SLUG].stable if SLUG in policy.authors else None
        untainted = [version.version for version in stable if not version.tainted]
        assert ([policy_version.version] if policy_version else []) == untainted


@pytest.mark.parametrize("rounds", [1, pytest.param(len(FREE_BYTES), marks=pytest.mark.long)])
def test_a_full_disk_is_reported_and_loses_nothing(chaos: ChaosHome, rounds: int) -> None:
    if chaos.disk is None:
        pytest.skip("no mounts: a small disk needs root")
    ensure_started(chaos)
    trace = parse_trace_id(chaos.run_twin("ask", "What is a gate for?"))
    chaos.disk.resize(megabytes=SMALL_DISK_MB)
    for leave in chaos.rng.sample(FREE_BYTES, rounds):
        chaos.write_post()
        commands = [
            ("keys", "add", f"full {chaos.post_count}", "--author", SLUG, "--json"),
            ("feedback", trace, "--up"),
            ("import",),
            ("pause", SLUG, "--reason", "full"),
            ("doctor",),
        ]
        chaos.disk.fill(leave=leave)
        try:
            results = chaos.run_together(*commands)
        finally:
            chaos.disk.make_room()
        outputs = "\n".join(map(str, results))
        assert any(result.exit_code for result in results), outputs
        for result in results:
            if result.exit_code:
                # a voter gets the reader's sentence; the operator's stands in log and doctor
                expected = ("try again in a minute",) if "feedback" in result.arguments else ()
                assert any(
                    text in result.output.lower() for text in (DISK_FULL, "fail disk", *expected)
                ), outputs
            elif result.arguments[0] == "pause":
                chaos.run_twin("pause", SLUG, "--resume")
        record_success(chaos, *results)
        chaos.require_expected_state(*results)
    chaos.disk.resize(megabytes=LARGE_DISK_MB)
    require_intact(chaos)


@pytest.mark.long
@pytest.mark.usefixtures("busy_core")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("minutes", [0.0, float(os.environ.get("TWIN_CHAOS_MINUTES", "10"))])
def test_kills_at_any_moment_lose_nothing(
    chaos: ChaosHome, tmp_path: Path, seed: int, minutes: float
) -> None:
    ensure_started(chaos)
    deadline, number = time.monotonic() + 60 * minutes, 0
    while number < MIN_ROUNDS or time.monotonic() < deadline:
        number += 1
        kill_round(chaos, tmp_path, f"seed {seed}, round {number}")
        if number % 10 == 0:
            require_intact(chaos)
    require_intact(chaos)


def kill_round(home: ChaosHome, folder: Path, label: str) -> None:
    """Start a random command, kill it or another process of the stack, and run it again."""
    rng, name = home.rng, f"{home.post_count}-{home.rng.randrange(10**6)}"
    title = home.write_post()
    questions = folder / "killed.jsonl"
    questions.write_text('{"question": "Who shuts the gate?"}\n')
    trace = parse_trace_id(home.run_twin("ask", "What is it for?")) or next(
        iter(home.expected.votes), ""
    )
    forgotten_title = rng.choice(
        sorted(set(home.expected.posts) - home.expected.forgotten_titles - {title})
    )
    commands: list[tuple[str, ...]] = [
        ("import",),
        ("keys", "add", name, "--author", SLUG, "--json"),
        ("feedback", trace, "--up"),
        ("ask", "Who keeps it?", "--model", f"twin/{SLUG}@paid"),
        ("batch", str(questions), "--out", str(folder / f"{name}.jsonl")),
        ("pause", SLUG, "--reason", name),
        ("backup", str(folder / f"{name}.tar")),
        ("forget", "--author", SLUG, "--post", home.expected.posts[forgotten_title]),
        ("rollback", "--reason", name),
        ("stop",),
    ]
    command = rng.choice(commands)
    started = time.monotonic()
    if command[0] == "forget":
        home.expect_forgotten(forgotten_title)
    process = home.start_command(*command)
    delay_s = rng.uniform(0.0, 12.0 if command[0] in {"import", "forget", "stop"} else 4.0)
    while process.poll() is None and time.monotonic() < started + delay_s:
        time.sleep(0.01)
    victims = [("the command", process.pid), *home.running_processes()]
    victim, pid = rng.choice(victims)
    label = f"{label}: {victim} is killed {delay_s:.2f} s into {' '.join(command)}"
    sys.stderr.write(f"\n{label}\n")
    with suppress(ProcessLookupError):  # it has already ended
        os.kill(pid, signal.SIGKILL)
    first = home.wait_for_command(process)
    record_success(home, first)
    if command[0] == "stop" or victim == "supervisor":
        stop = home.run_twin("stop")
        home.require_expected_state(stop)
        assert stop.exit_code == 0, f"{label}\n{stop}"
    ensure_started(home)
    second = home.run_twin(*command) if command[0] != "stop" else first
    record_success(home, second)
    home.require_expected_state(first, second)
    if second.exit_code and command[0] != "stop":
        assert re.search(
            r"a key with the label|a file with that name|no match among|no retired version|"
            r"does not answer|does not respond|no answer|is paused|503|502",
            second.output,
        ), f"{label}\n{first}\n{second}"
    if command[0] == "pause":
        home.run_twin("pause", SLUG, "--resume")


def require_intact(home: ChaosHome) -> None:
    """Require that the stack starts, all expected state exists, and doctor finds no problem."""
    ensure_started(home)
    result = home.run_twin("import")
    home.require_expected_state(result)
    assert result.exit_code == 0, str(result)
    wait_until(lambda: home.read_stored_titles() == home.expected_titles(), home)
    wait_until(lambda: not home.find_missing_votes(), home)
    wait_until(lambda: home.run_twin("doctor").exit_code == 0, home)
    require_one_stable_version(home)
    home.require_expected_state()


def wait_until(is_true: Callable[[], bool], home: ChaosHome) -> None:
    """Wait until a condition holds, for 60 tries: killed programs take seconds to restart."""
    for _ in range(60):
        if is_true():
            return
        time.sleep(1.0)
    raise AssertionError(
        f"missing titles: {home.expected_titles() - home.read_stored_titles()}, extra titles: "
        f"{home.read_stored_titles() - home.expected_titles()}, missing votes: "
        f"{home.find_missing_votes()}\n{home.run_twin('doctor')}"
    )
