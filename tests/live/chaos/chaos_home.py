"""A home for chaos tests: concurrent and killed commands, and the state that must survive them.

Scope: running `twin` commands, killing processes, recording successful results and requiring them.
Out of scope: which commands run together (the tests).
"""

from __future__ import annotations

import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.simulated_provider.provider_answers import read_bill
from tests.small_disk import SmallDisk
from twin_resources.access.account import open_account
from twin_resources.access.keys import list_keys, open_key_store, open_keyring
from twin_resources.authors import read_author
from twin_resources.errors import TwinError
from twin_resources.processes.stack import find_stack
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

TWIN = Path(sys.executable).with_name("twin")
SLUG, NAME = "ann-vale", "Ann Vale"
# Advice that is wrong for the faults in these tests: another cause, or a loss of data.
WRONG_ADVICE = re.compile(
    r"Traceback|report this|the check itself failed|start again|move the (file|home) away"
    r"|TWIN_TABLES_URI|TWIN_STATE_URL|`twin repair`|is damaged|see the details",
)
BUSY_LOOP = "while True: pass"


@dataclass(frozen=True)
class CommandResult:
    """A command that has ended: its output and errors, and its exit code (-9 if killed)."""

    arguments: tuple[str, ...]
    code: int
    text: str

    def __str__(self) -> str:
        return f"twin {' '.join(self.arguments)} → {self.code}\n{self.text}"


@dataclass
class ExpectedState:
    """The results of successful commands, which must never be missing.

    Attributes:
        posts: title → file name.
        forgotten: titles.
        keys: label → key.
        votes: trace ids.
        votes_before: trace ids of votes before a forgetting, which may erase them with their trace.
        versions: numbers of registered versions.
    """

    posts: dict[str, str] = field(default_factory=dict[str, str])
    forgotten: set[str] = field(default_factory=set[str])
    keys: dict[str, str] = field(default_factory=dict[str, str])
    votes: set[str] = field(default_factory=set[str])
    votes_before: set[str] = field(default_factory=set[str])
    versions: set[int] = field(default_factory=set[int])


@dataclass
class ChaosHome:
    """A home with its posts.

    Attributes:
        environment: of every command; names home, ports and the simulated provider.
        bill: file with the provider's charges.
        disk: contains only the home; None where no disk can be mounted.
    """

    settings: Settings
    posts: Path
    environment: Mapping[str, str]
    bill: Path
    draw: random.Random
    disk: SmallDisk | None = None
    expected: ExpectedState = field(default_factory=ExpectedState)
    number: int = 0

    # Commands

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command in a new session, as from another terminal."""
        return subprocess.Popen(
            [str(TWIN), *arguments],
            env=dict(self.environment),
            cwd=self.posts.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> CommandResult:
        """Wait for a started command to end."""
        text, _ = process.communicate()
        assert isinstance(process.args, list)
        arguments = tuple(map(str, process.args[1:]))
        return CommandResult(arguments, process.returncode, text)

    def twin(self, *arguments: str) -> CommandResult:
        return self.end(self.begin(*arguments))

    def run_together(self, *commands: Sequence[str]) -> list[CommandResult]:
        """Start commands at the same moment, and wait for all."""
        processes = [self.begin(*command) for command in commands]
        return [self.end(process) for process in processes]

    def running_processes(self) -> list[tuple[str, int]]:
        """Return name and pid of the stack's programs and the workers of runs."""
        stack = find_stack(self.settings)
        if stack is None:
            return []
        try:
            programs = [(name, identity.pid) for name, identity in sorted(stack.pids().items())]
        except TwinError:
            return []  # the stack is being stopped
        code = dict(programs).get("dagster-code")
        workers = psutil.Process(code).children(recursive=True) if code else []
        return programs + [("a run's worker", worker.pid) for worker in workers]

    # Posts

    def write_post(self) -> str:
        """Write a new post in the folder; return its title."""
        self.number += 1
        syllables = [self.draw.choice("bdfgklmnprst") + self.draw.choice("aeiou") for _ in "1234"]
        word = "".join(syllables)
        title = f"The {word} by gate {self.number}"
        name = f"2019-0{1 + self.number % 9}-{10 + self.number % 18}-{word}-{self.number}.md"
        text = (
            f"---\ntitle: {title}\n---\n\nMy neighbour keeps a {word} by gate {self.number} and "
            f"waters it with rain from the {word} barrel. In {1900 + self.number} it froze, and "
            f"she wrapped the {word} in the sacking of {self.number + 3} potato bags until the "
            "swallows came back over the yard, which was on a Tuesday.\n\nI have asked her twice "
            f"what a {word} is for. She says it is for gate {self.number}, and shuts the gate.\n"
        )
        (self.posts / name).write_text(text, encoding="utf-8")
        self.expected.posts[title] = name
        return title

    # Assertions

    def check(self, *results: CommandResult) -> None:
        """Require the expected state, and that no command gave wrong advice."""
        for result in results:
            assert not WRONG_ADVICE.search(result.text), str(result)
            assert result.code in {0, 1, 2, 3, 4, 130, -signal.SIGKILL}, str(result)
        with closing(open_key_store(self.settings)) as state:
            labels = {str(row["label"]) for row in list_keys(state)}
            assert set(self.expected.keys) <= labels
            registry = Registry(state, policy_path=self.settings.policy_path)
            versions = {version.version for version in registry.versions(SLUG)}
            assert self.expected.versions <= versions
            account = open_account(self.settings, state)
            if self.bill.exists():
                booked = sum(row["nano"] + row["reserved_nano"] for row in account.rows())
                assert booked >= sum(line["nano"] for line in read_bill(self.bill))
        for key in self.expected.keys.values():
            assert open_keyring(self.settings).find(f"Bearer {key}")
        assert read_author(self.settings, SLUG).name == NAME

    def expected_titles(self) -> set[str]:
        """Return the titles of the posts that were not forgotten."""
        return set(self.expected.posts) - self.expected.forgotten

    def stored_titles(self) -> set[str]:
        """Return the titles of the posts in the table `raw_posts`."""
        with closing(State.open(self.settings.state_address)) as state:
            tables = Tables(self.settings.tables_base, state=state)
            return set(tables.read("raw_posts", SLUG)["title"].to_list())

    def missing_votes(self) -> set[str]:
        """Return the traces whose vote is neither in the trace store nor in the outbox."""
        with (
            closing(sqlite3.connect(self.settings.home / "outbox.sqlite", timeout=60)) as outbox,
            closing(sqlite3.connect(self.settings.home / "traces.sqlite", timeout=60)) as store,
        ):
            # the outbox first, because a vote moves from there to the store
            waiting = " ".join(str(row[0]) for row in outbox.execute("SELECT body FROM waiting"))
            scored = {row[0] for row in store.execute("SELECT trace_id FROM scores")}
            traces = {row[0] for row in store.execute("SELECT trace_id FROM observations")}
        missing = {vote for vote in self.expected.votes - scored if vote not in waiting}
        return missing - (self.expected.votes_before - traces)

    def expect_forgotten(self, title: str) -> str:
        """Record that a post is about to be forgotten; return its file name."""
        self.expected.forgotten.add(title)
        self.expected.votes_before |= self.expected.votes
        return self.expected.posts[title]


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run processes that use a core each."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def trace_of(result: CommandResult) -> str:
    """Return the trace id in the output of `twin ask`, or ""."""
    found = re.search(r"\b[0-9a-f]{32}\b", result.text)
    return found.group() if found else ""


def key_of(result: CommandResult) -> str:
    """Return the key in the output of `twin keys add --json`, or ""."""
    try:
        return str(json.loads(result.text)["key"])
    except (ValueError, KeyError):
        return ""
