"""A home loses nothing when commands run at the same time, its disk is full, or processes die.

The full disk has 64 MB. In the long form (`-m long`) another program uses a core all the time, and
kills continue for TWIN_CHAOS_MINUTES, by default 10. Beside the short form, `twin check` runs
other tests. The seed and each random choice are printed.
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
    key_of,
    trace_of,
)
from tests.live.chaos.conftest import LARGE_DISK_MB
from tests.live.chaos.meetings import MEETINGS, Meeting
from twin_resources.processes.stack import find_stack
from twin_resources.registry.moves import Verdict
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.state import State
from twin_resources.storage.weights.weights import load_base_model

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

ROUNDS = 6  # at least, each with one SIGKILL
FREE_BYTES = (0, 4096, 100_000)  # on a full disk
SMALL_DISK_MB = 64
DISK_FULL = "no space left"


@pytest.fixture
def another_program() -> Iterator[None]:
    """Run another program that uses a core all the time."""
    with busy_processes(1):
        yield


def up(home: ChaosHome) -> tuple[str, ...]:
    return ("up", "--detach", "--no-train", "--base-model", str(home.settings.base_model))


def start(home: ChaosHome) -> None:
    """Start the stack if it does not run, and register versions if there are none."""
    if find_stack(home.settings) is None:
        result = home.twin(*up(home))
        home.check(result)
        assert result.code == 0, str(result)
    if not home.expected.versions:
        register_versions(home)


def test_each_command_has_a_meeting_or_a_reason() -> None:
    commands = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert set(MEETINGS) == set(commands)


@pytest.mark.long
def test_two_simultaneous_starts_succeed(chaos: ChaosHome) -> None:
    results = chaos.run_together(up(chaos), up(chaos))
    chaos.check(*results)
    assert [result.code for result in results] == [0, 0], "\n".join(map(str, results))
    assert sum("already running" in result.text for result in results) == 1
    assert chaos.stored_titles() == set(chaos.expected.posts)
    register_versions(chaos)


def register_versions(home: ChaosHome) -> None:
    """Register the base model as three versions: retired, stable, and refused."""
    gguf = str(load_base_model(home.settings).gguf)
    with closing(State.open(home.settings.state_address)) as state:
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
@pytest.mark.usefixtures("another_program")
def test_two_of_each_command_run_at_the_same_time(chaos: ChaosHome, tmp_path: Path) -> None:
    start(chaos)
    chaos.write_post()
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "What is a gate for?"}\n{"question": "Who keeps it?"}\n')
    words = {
        "QUESTIONS": str(questions),
        "OUT": str(tmp_path / "answers.jsonl"),
        "BACKUP": str(tmp_path / "backup.tar"),
        "EMPTY": str(tmp_path / "empty home"),
    }
    for name, meeting in MEETINGS.items():
        if isinstance(meeting, str):
            continue
        if name == "forget":
            words["POST"] = chaos.expect_forgotten(next(iter(chaos.expected.posts)))
        results = run_meeting(chaos, meeting, words)
        if name == "pause":
            chaos.twin("pause", SLUG, "--resume")  # either command may have been the last
        if name == "ask":
            words["TRACE"] = trace_of(results[0])
        record_success(chaos, *results)
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2
    start(chaos)
    require_one_stable_version(chaos)


def run_meeting(home: ChaosHome, meeting: Meeting, words: dict[str, str]) -> list[CommandResult]:
    commands = [
        tuple(words.get(word, word) for word in side) for side in (meeting.first, meeting.second)
    ]
    results = home.run_together(*commands)
    home.check(*results)
    outputs = "\n".join(map(str, results))
    failed = [result for result in results if result.code]
    assert len(failed) <= (1 if meeting.refused else 0), outputs
    for result in failed:
        assert re.search(meeting.refused, result.text), outputs
    return results


def record_success(home: ChaosHome, *results: CommandResult) -> None:
    """Add the results of successful commands to the expected state."""
    for result in results:
        if result.code:
            continue
        match result.arguments:
            case ("keys", "add", label, *_):
                home.expected.keys[label] = key_of(result)
            case ("feedback", trace, *_):
                home.expected.votes.add(trace)
            case _:
                pass


def require_one_stable_version(home: ChaosHome) -> None:
    """Require at most one stable version, and the same version in the gateway's policy file.

    A version trained on a forgotten post must not be in the file.
    """
    with closing(State.open(home.settings.state_address)) as state:
        registry = Registry(state, policy_path=home.settings.policy_path)
        stable = [version for version in registry.versions(SLUG) if version.state == "stable"]
        assert len(stable) <= 1
        policy = read_policy(home.settings.policy_path)
        assert policy is not None
        in_policy = policy.authors[SLUG].stable if SLUG in policy.authors else None
        untainted = [version.version for version in stable if not version.tainted]
        assert ([in_policy.version] if in_policy else []) == untainted


@pytest.mark.drawn(2, of="long flows")
@pytest.mark.parametrize("rounds", [1, pytest.param(len(FREE_BYTES), marks=pytest.mark.long)])
def test_a_full_disk_is_reported_and_loses_nothing(chaos: ChaosHome, rounds: int) -> None:
    if chaos.disk is None:
        pytest.skip("no mounts: a small disk needs root")
    start(chaos)
    trace = trace_of(chaos.twin("ask", "What is a gate for?"))
    chaos.disk.resize(megabytes=SMALL_DISK_MB)
    for leave in chaos.draw.sample(FREE_BYTES, rounds):
        chaos.write_post()
        commands = [
            ("keys", "add", f"full {chaos.number}", "--author", SLUG, "--json"),
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
        assert any(result.code for result in results), outputs
        for result in results:
            if result.code:
                assert DISK_FULL in result.text.lower() or "fail disk" in result.text, outputs
            elif result.arguments[0] == "pause":
                chaos.twin("pause", SLUG, "--resume")
        record_success(chaos, *results)
        chaos.check(*results)
    chaos.disk.resize(megabytes=LARGE_DISK_MB)
    require_intact(chaos)


@pytest.mark.long
@pytest.mark.usefixtures("another_program")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("minutes", [0.0, float(os.environ.get("TWIN_CHAOS_MINUTES", "10"))])
def test_kills_at_any_moment_lose_nothing(
    chaos: ChaosHome, tmp_path: Path, seed: int, minutes: float
) -> None:
    start(chaos)
    deadline, number = time.monotonic() + 60 * minutes, 0
    while number < ROUNDS or time.monotonic() < deadline:
        number += 1
        kill_round(chaos, tmp_path, f"seed {seed}, round {number}")
        if number % 10 == 0:
            require_intact(chaos)
    require_intact(chaos)


def kill_round(home: ChaosHome, folder: Path, label: str) -> None:
    """Start a random command, kill it or another process of the stack, and run it again."""
    draw, name = home.draw, f"{home.number}-{home.draw.randrange(10**6)}"
    title = home.write_post()
    questions = folder / "killed.jsonl"
    questions.write_text('{"question": "Who shuts the gate?"}\n')
    trace = trace_of(home.twin("ask", "What is it for?")) or next(iter(home.expected.votes), "")
    forgotten = draw.choice(sorted(set(home.expected.posts) - home.expected.forgotten - {title}))
    commands: list[tuple[str, ...]] = [
        ("import",),
        ("keys", "add", name, "--author", SLUG, "--json"),
        ("feedback", trace, "--up"),
        ("ask", "Who keeps it?", "--model", f"twin/{SLUG}@paid"),
        ("batch", str(questions), "--out", str(folder / f"{name}.jsonl")),
        ("pause", SLUG, "--reason", name),
        ("backup", str(folder / f"{name}.tar")),
        ("forget", "--author", SLUG, "--post", home.expected.posts[forgotten]),
        ("rollback", "--reason", name),
        ("stop",),
    ]
    command = draw.choice(commands)
    began = time.monotonic()
    if command[0] == "forget":
        home.expect_forgotten(forgotten)
    process = home.begin(*command)
    moment = draw.uniform(0.0, 12.0 if command[0] in {"import", "forget", "stop"} else 4.0)
    while process.poll() is None and time.monotonic() < began + moment:
        time.sleep(0.01)
    victims = [("the command", process.pid), *home.running_processes()]
    victim, pid = draw.choice(victims)
    label = f"{label}: {victim} is killed {moment:.2f} s into {' '.join(command)}"
    sys.stderr.write(f"\n{label}\n")
    with suppress(ProcessLookupError):  # it has ended by itself
        os.kill(pid, signal.SIGKILL)
    first = home.end(process)
    record_success(home, first)
    if command[0] == "stop" or victim == "supervisor":
        stop = home.twin("stop")
        home.check(stop)
        assert stop.code == 0, f"{label}\n{stop}"
    start(home)
    second = home.twin(*command) if command[0] != "stop" else first
    record_success(home, second)
    home.check(first, second)
    if second.code and command[0] != "stop":
        assert re.search(
            r"a key with the label|a file with that name|no match among|no retired version|"
            r"does not answer|nothing answers|no answer|is paused|503|502",
            second.text,
        ), f"{label}\n{first}\n{second}"
    if command[0] == "pause":
        home.twin("pause", SLUG, "--resume")


def require_intact(home: ChaosHome) -> None:
    """Require that the stack starts, all expected state exists, and doctor finds no problem."""
    start(home)
    result = home.twin("import")
    home.check(result)
    assert result.code == 0, str(result)
    eventually(lambda: home.stored_titles() == home.expected_titles(), home)
    eventually(lambda: not home.missing_votes(), home)
    eventually(lambda: home.twin("doctor").code == 0, home)
    require_one_stable_version(home)
    home.check()


def eventually(is_true: Callable[[], bool], home: ChaosHome) -> None:
    """Wait until a condition holds; killed programs restart within seconds, at worst minutes."""
    for _ in range(60):
        if is_true():
            return
        time.sleep(1.0)
    raise AssertionError(
        f"titles missing: {home.expected_titles() - home.stored_titles()}, too many: "
        f"{home.stored_titles() - home.expected_titles()}, votes missing: "
        f"{home.missing_votes()}\n{home.twin('doctor')}"
    )
