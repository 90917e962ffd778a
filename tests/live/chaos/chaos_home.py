"""A home for chaos tests: concurrent and killed commands, and the state that must survive them.

Scope: running `twin` commands, finding processes to kill, recording and checking their results.
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
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

TWIN = Path(sys.executable).with_name("twin")
SLUG, NAME = "ann-vale", "Ann Vale"
# Wrong advice for the faults in these tests: it names another cause, or loses data.
WRONG_ADVICE = re.compile(
    r"Traceback|report this|the check itself failed|start again|move the (file|home) away"
    r"|TWIN_TABLES_URI|TWIN_STATE_URL|`twin doctor --repair`|is damaged|see the details"
)
BUSY_LOOP = "while True: pass"


@dataclass(frozen=True)
class CommandResult:
    """A command that has ended.

    Attributes:
        exit_code: -9 if the command was killed.
        output: standard output and errors.
    """

    arguments: tuple[str, ...]
    exit_code: int
    output: str

    def __str__(self) -> str:
        return f"twin {' '.join(self.arguments)} → {self.exit_code}\n{self.output}"


@dataclass
class ExpectedState:
    """The results of successful commands, which must never be missing.

    Attributes:
        posts: file name of each post, by title.
        forgotten_titles: titles of forgotten posts.
        keys: API keys by label.
        votes: trace ids of answers with a vote.
        erasable_votes: votes from before a post was forgotten, which may have erased them.
        versions: numbers of registered versions.
    """

    posts: dict[str, str] = field(default_factory=dict[str, str])
    forgotten_titles: set[str] = field(default_factory=set[str])
    keys: dict[str, str] = field(default_factory=dict[str, str])
    votes: set[str] = field(default_factory=set[str])
    erasable_votes: set[str] = field(default_factory=set[str])
    versions: set[int] = field(default_factory=set[int])


@dataclass
class ChaosHome:
    """A home with its posts.

    Attributes:
        posts: the folder of posts.
        environment: the environment of every command, with home, ports and simulated provider.
        bill: the file with the provider's charges.
        disk: the disk with only the home, or None if no disk can be mounted.
        post_count: the number of posts written so far.
    """

    settings: Settings
    posts: Path
    environment: Mapping[str, str]
    bill: Path
    rng: random.Random
    disk: SmallDisk | None = None
    expected: ExpectedState = field(default_factory=ExpectedState)
    post_count: int = 0

    # Commands

    def start_command(self, *arguments: str) -> subprocess.Popen[str]:
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

    def wait_for_command(self, process: subprocess.Popen[str]) -> CommandResult:
        """Wait for a started command to end."""
        output, _ = process.communicate()
        assert isinstance(process.args, list)
        arguments = tuple(map(str, process.args[1:]))
        return CommandResult(arguments, process.returncode, output)

    def run_twin(self, *arguments: str) -> CommandResult:
        return self.wait_for_command(self.start_command(*arguments))

    def run_together(self, *commands: Sequence[str]) -> list[CommandResult]:
        """Start commands at the same time, and wait for all of them."""
        processes = [self.start_command(*command) for command in commands]
        return [self.wait_for_command(process) for process in processes]

    def running_processes(self) -> list[tuple[str, int]]:
        """Return the names and pids of the stack's programs and of the workers of runs."""
        stack = find_stack(self.settings)
        if stack is None:
            return []
        try:
            programs = [(name, identity.pid) for name, identity in sorted(stack.pids().items())]
        except TwinError:
            return []  # the stack is being stopped
        code_pid = dict(programs).get("dagster-code")
        workers = psutil.Process(code_pid).children(recursive=True) if code_pid else []
        return programs + [("a run's worker", worker.pid) for worker in workers]

    # Posts

    def write_post(self) -> str:
        """Write a new post into the folder; return its title."""
        self.post_count += 1
        number = self.post_count
        syllables = [self.rng.choice("bdfgklmnprst") + self.rng.choice("aeiou") for _ in "1234"]
        word = "".join(syllables)
        title = f"The {word} by gate {number}"
        name = f"2019-0{1 + number % 9}-{10 + number % 18}-{word}-{number}.md"
        text = (
            f"---\ntitle: {title}\n---\n\nMy neighbor keeps a {word} by gate {number} and "
            f"waters it with rain from the {word} barrel. In {1900 + number} it froze, and "
            f"she wrapped the {word} in the sacking of {number + 3} potato bags until the "
            "swallows came back over the yard, which was on a Tuesday.\n\nI have asked her twice "
            f"what a {word} is for. She says it is for gate {number}, and shuts the gate.\n"
        )
        (self.posts / name).write_text(text, encoding="utf-8")
        self.expected.posts[title] = name
        return title

    # Assertions

    def require_expected_state(self, *results: CommandResult) -> None:
        """Require the expected state, and that no command gave wrong advice."""
        for result in results:
            assert not WRONG_ADVICE.search(result.output), str(result)
            assert result.exit_code in {0, 1, 2, 3, 4, 130, -signal.SIGKILL}, str(result)
        with closing(open_key_store(self.settings)) as state:
            labels = {str(row["label"]) for row in list_keys(state)}
            assert set(self.expected.keys) <= labels
            registry = Registry(state, policy_path=self.settings.policy_path)
            versions = {version.version for version in registry.versions(SLUG)}
            assert self.expected.versions <= versions
            rows = open_account(self.settings, state).list_spending()
            if self.bill.exists():
                booked_nano = sum(row["nano"] + row["reserved_nano"] for row in rows)
                assert booked_nano >= sum(line["nano"] for line in read_bill(self.bill))
        for key in self.expected.keys.values():
            assert open_keyring(self.settings).find(f"Bearer {key}")
        assert read_author(self.settings, SLUG).name == NAME

    def expected_titles(self) -> set[str]:
        """Return the titles of the posts that were not forgotten."""
        return set(self.expected.posts) - self.expected.forgotten_titles

    def read_stored_titles(self) -> set[str]:
        """Return the titles of the posts in the table `raw_posts`."""
        with closing(open_home_state(self.settings)) as state:
            tables = Tables(self.settings.tables_base, state=state)
            return set(tables.read("raw_posts", SLUG)["title"].to_list())

    def find_missing_votes(self) -> set[str]:
        """Return the expected votes in neither trace store nor outbox, except erased votes."""
        with (
            closing(
                sqlite3.connect(self.settings.host_dir / "outbox.sqlite", timeout=60)
            ) as outbox,
            closing(sqlite3.connect(self.settings.home / "traces.sqlite", timeout=60)) as store,
        ):
            # the outbox first, because votes move from there to the store
            waiting = " ".join(str(row[0]) for row in outbox.execute("SELECT body FROM waiting"))
            scored_ids = {row[0] for row in store.execute("SELECT trace_id FROM scores")}
            trace_ids = {row[0] for row in store.execute("SELECT trace_id FROM observations")}
        missing = {vote for vote in self.expected.votes - scored_ids if vote not in waiting}
        return missing - (self.expected.erasable_votes - trace_ids)

    def expect_forgotten(self, title: str) -> str:
        """Record that a post is about to be forgotten; return its file name."""
        self.expected.forgotten_titles.add(title)
        self.expected.erasable_votes |= self.expected.votes
        return self.expected.posts[title]


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run processes that each keep one core busy."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def parse_trace_id(result: CommandResult) -> str:
    """Return the trace id in the output of `twin ask`, or ""."""
    match = re.search(r"\b[0-9a-f]{32}\b", result.output)
    return match.group() if match else ""


def parse_key(result: CommandResult) -> str:
    """Return the key in the output of `twin keys add --json`, or ""."""
    try:
        return str(json.loads(result.output)["key"])
    except (ValueError, KeyError):
        return ""
