"""One home under two of each command at once, a full disk and SIGKILL: nothing is lost.

The disk that is filled has 64 MB. In the long form (`-m long`) another program wants a core all the
time, and it goes on for TWIN_CHAOS_MINUTES, 10 of them where it is not set; beside the short form
`twin check` runs other tests. The seed is printed, and each draw too.
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
    Ran,
    burners,
    key_of,
    trace_of,
)
from tests.live.chaos.conftest import ROOMY_MB
from tests.live.chaos.meetings import MEETINGS, Meeting
from twin_resources.processes.stack import find_stack
from twin_resources.registry.moves import Verdict
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.storage.state.state import State
from twin_resources.storage.weights.weights import load_base_model

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

ROUNDS = 6  # of the short form, each with one SIGKILL
LEFT_BYTES = (0, 4096, 100_000)  # on a disk that is filled
SMALL_MB = 64
NO_ROOM = "no space left"


@pytest.fixture
def another_program() -> Iterator[None]:
    """Something else wants the cores all the time."""
    with burners(1):
        yield


def up(home: ChaosHome) -> tuple[str, ...]:
    return ("up", "--detach", "--no-train", "--base-model", str(home.settings.base_model))


def start(home: ChaosHome) -> None:
    """Start the stack where none runs, and plant the versions where none are."""
    if find_stack(home.settings) is None:
        ran = home.twin(*up(home))
        home.check(ran)
        assert ran.code == 0, str(ran)
    if not home.promised.versions:
        plant_versions(home)


def test_each_command_has_a_meeting_or_a_reason() -> None:
    commands = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert set(MEETINGS) == set(commands)


@pytest.mark.long
def test_of_two_starts_at_once_both_succeed(chaos: ChaosHome) -> None:
    ran = chaos.twins(up(chaos), up(chaos))
    chaos.check(*ran)
    assert [one.code for one in ran] == [0, 0], "\n".join(map(str, ran))
    assert sum("already running" in one.text for one in ran) == 1
    assert chaos.stored_titles() == set(chaos.promised.posts)
    plant_versions(chaos)


def plant_versions(home: ChaosHome) -> None:
    """Three versions, the base model under as many names: retired, stable, and refused."""
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
            who, why = "test", "planted"
            registry.move(SLUG, version, "refused", actor=who, reason=why, gate_version="gate")
            if number < 3:
                registry.move(SLUG, version, "stable", actor=who, reason=why, force=True)
            home.promised.versions.add(version)


@pytest.mark.long
@pytest.mark.usefixtures("another_program")
def test_two_of_each_command_at_once(chaos: ChaosHome, tmp_path: Path) -> None:
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
            words["POST"] = chaos.forget_next(next(iter(chaos.promised.posts)))
        ran = meet(chaos, meeting, words)
        if name == "pause":
            chaos.twin("pause", SLUG, "--resume")  # who came last had the last word
        if name == "ask":
            words["TRACE"] = trace_of(ran[0])
        remember(chaos, *ran)
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2
    start(chaos)
    assert_one_answers(chaos)


def meet(home: ChaosHome, meeting: Meeting, words: dict[str, str]) -> list[Ran]:
    commands = [
        tuple(words.get(word, word) for word in side) for side in (meeting.first, meeting.second)
    ]
    ran = home.twins(*commands)
    home.check(*ran)
    told = "\n".join(map(str, ran))
    good = sum(one.code == 0 for one in ran)
    if not meeting.refused:
        assert good == 2, told
    assert good >= 1, told
    for one in ran:
        if one.code:
            assert meeting.refused, told
            assert re.search(meeting.refused, one.text), told
    return ran


def remember(home: ChaosHome, *ran: Ran) -> None:
    """What a command that succeeded has promised."""
    for one in ran:
        if one.code:
            continue
        match one.arguments:
            case ("keys", "add", label, *_):
                home.promised.keys[label] = key_of(one)
            case ("feedback", trace, *_):
                home.promised.votes.add(trace)
            case _:
                pass


def assert_one_answers(home: ChaosHome) -> None:
    """At most one version answers (none that has seen a forgotten post), and the file that the
    gateway follows names the same."""
    with closing(State.open(home.settings.state_address)) as state:
        registry = Registry(state, policy_path=home.settings.policy_path)
        stable = [item for item in registry.versions(SLUG) if item.state == "stable"]
        assert len(stable) <= 1
        policy = read_policy(home.settings.policy_path)
        assert policy is not None
        named = policy.authors[SLUG].stable if SLUG in policy.authors else None
        served = [one.version for one in stable if not one.tainted]
        assert ([named.version] if named else []) == served


@pytest.mark.drawn(2, of="long flows")
@pytest.mark.parametrize("rounds", [1, pytest.param(len(LEFT_BYTES), marks=pytest.mark.long)])
def test_a_full_disk_is_named_and_loses_nothing(chaos: ChaosHome, rounds: int) -> None:
    if chaos.disk is None:
        pytest.skip("no mounts: a small disk needs root")
    start(chaos)
    trace = trace_of(chaos.twin("ask", "What is a gate for?"))
    chaos.disk.resize(megabytes=SMALL_MB)
    for leave in chaos.draw.sample(LEFT_BYTES, rounds):
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
            ran = chaos.twins(*commands)
        finally:
            chaos.disk.make_room()
        told = "\n".join(map(str, ran))
        assert any(one.code for one in ran), told
        for one in ran:
            if one.code:
                assert NO_ROOM in one.text.lower() or "fail disk" in one.text, told
            elif one.arguments[0] == "pause":
                chaos.twin("pause", SLUG, "--resume")
        remember(chaos, *ran)
        chaos.check(*ran)
    chaos.disk.resize(megabytes=ROOMY_MB)
    assert_whole(chaos)


def until_imported(home: ChaosHome) -> Ran:
    """The import after a fault: what a person would run again."""
    ran = home.twin("import")
    home.check(ran)
    assert ran.code == 0, str(ran)
    return ran


@pytest.mark.long
@pytest.mark.usefixtures("another_program")
def test_a_kill_at_any_moment_loses_nothing(chaos: ChaosHome, tmp_path: Path, seed: int) -> None:
    start(chaos)
    for turn in range(ROUNDS):
        kill_round(chaos, tmp_path, f"seed {seed}, round {turn}")
    assert_whole(chaos)


@pytest.mark.long
@pytest.mark.usefixtures("another_program")
@pytest.mark.timeout(7200)
def test_many_kills_lose_nothing(chaos: ChaosHome, tmp_path: Path, seed: int) -> None:
    start(chaos)
    ends = time.monotonic() + 60 * float(os.environ.get("TWIN_CHAOS_MINUTES", "10"))
    turn = 0
    while time.monotonic() < ends:
        turn += 1
        kill_round(chaos, tmp_path, f"seed {seed}, long round {turn}")
        if turn % 10 == 0:
            assert_whole(chaos)
    assert_whole(chaos)
    sys.stderr.write(f"\n{turn} kills\n")


def kill_round(home: ChaosHome, folder: Path, told: str) -> None:
    """A command begins; a moment later it, or what answers it, is killed; it is given again."""
    draw, name = home.draw, f"{home.number}-{home.draw.randrange(10**6)}"
    title = home.write_post()
    questions = folder / "killed.jsonl"
    questions.write_text('{"question": "Who shuts the gate?"}\n')
    trace = trace_of(home.twin("ask", "What is it for?")) or next(iter(home.promised.votes), "")
    forgotten = draw.choice(sorted(set(home.promised.posts) - home.promised.forgotten - {title}))
    commands: list[tuple[str, ...]] = [
        ("import",),
        ("keys", "add", name, "--author", SLUG, "--json"),
        ("feedback", trace, "--up"),
        ("ask", "Who keeps it?", "--model", f"twin/{SLUG}@paid"),
        ("batch", str(questions), "--out", str(folder / f"{name}.jsonl")),
        ("pause", SLUG, "--reason", name),
        ("backup", str(folder / f"{name}.tar")),
        ("forget", "--author", SLUG, "--post", home.promised.posts[forgotten]),
        ("rollback", "--reason", name),
        ("stop",),
    ]
    command = draw.choice(commands)
    began = time.monotonic()
    if command[0] == "forget":
        home.forget_next(forgotten)
    process = home.begin(*command)
    moment = draw.uniform(0.0, 12.0 if command[0] in {"import", "forget", "stop"} else 4.0)
    while process.poll() is None and time.monotonic() < began + moment:
        time.sleep(0.01)
    victims = [("the command", process.pid), *home.killable()]
    victim, pid = draw.choice(victims)
    told = f"{told}: {victim} is killed {moment:.2f} s into {' '.join(command)}"
    sys.stderr.write(f"\n{told}\n")
    with suppress(ProcessLookupError):  # it had ended by itself
        os.kill(pid, signal.SIGKILL)
    first = home.end(process)
    remember(home, first)
    if command[0] == "stop" or victim == "supervisor":
        stopped = home.twin("stop")
        home.check(stopped)
        assert stopped.code == 0, f"{told}\n{stopped}"
    start(home)
    again = home.twin(*command) if command[0] != "stop" else first
    remember(home, again)
    home.check(first, again)
    if again.code and command[0] != "stop":
        assert re.search(
            r"a key with the label|a file with that name|no match among|no retired version|"
            r"does not answer|nothing answers|no answer|is paused|503|502",
            again.text,
        ), f"{told}\n{first}\n{again}"
    if command[0] == "pause":
        home.twin("pause", SLUG, "--resume")


def assert_whole(home: ChaosHome) -> None:
    """The home opens, holds every promise, and says that nothing is wrong."""
    start(home)
    until_imported(home)
    eventually(lambda: home.stored_titles() == home.expected_titles(), home)
    eventually(lambda: not home.missing_votes(), home)
    eventually(lambda: home.twin("doctor").code == 0, home)
    assert_one_answers(home)
    home.check()


def eventually(is_true: Callable[[], bool], home: ChaosHome) -> None:
    """Programs that were killed are started again within seconds, on any machine within minutes."""
    for _ in range(60):
        if is_true():
            return
        time.sleep(1.0)
    raise AssertionError(
        f"titles missing: {home.expected_titles() - home.stored_titles()}, too many: "
        f"{home.stored_titles() - home.expected_titles()}, votes missing: "
        f"{home.missing_votes()}\n{home.twin('doctor')}"
    )
