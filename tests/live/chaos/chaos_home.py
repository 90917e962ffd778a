"""A home that commands are let loose on, and what must still be in it afterwards.

Scope: running `twin` in it beside other things, killing what runs, what it has promised so
far and holding it to that. Out of scope: which commands meet when (the tests).
"""

from __future__ import annotations

import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
# What no command may say of a fault that these tests make: it names another cause, or throws away.
WRONG_ADVICE = re.compile(
    r"Traceback|report this|could not be examined|start again|move the (file|home) away"
    r"|TWIN_TABLES_URI|TWIN_STATE_URL|`twin repair`|is damaged|see the details",
)
BURN = "while True: pass"


@dataclass(frozen=True)
class Ran:
    """A command that has ended: what it printed on both outputs, its exit code (-9: killed)."""

    arguments: tuple[str, ...]
    code: int
    text: str
    seconds: float

    def __str__(self) -> str:
        return f"twin {' '.join(self.arguments)} → {self.code}\n{self.text}"


@dataclass
class Promised:
    """What commands have answered with success: it may never be missing.

    Attributes:
        posts: title → name of the file; forgotten: titles.
        keys: label → key.
        votes: trace ids; those before a forgetting go with a trace that showed the post.
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
    """One home with its posts.

    Attributes:
        environment: of every command; names home, ports and the simulated provider.
        bill: what that provider has charged.
        disk: that the home alone lies on; None: no disk can be mounted here.
    """

    settings: Settings
    posts: Path
    environment: Mapping[str, str]
    bill: Path
    draw: random.Random
    disk: SmallDisk | None = None
    promised: Promised = field(default_factory=Promised)
    number: int = 0

    # Commands

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A command in a session of its own, as another terminal's."""
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

    def end(self, process: subprocess.Popen[str]) -> Ran:
        """Wait for a command that was begun."""
        began = time.monotonic()
        text, _ = process.communicate()
        arguments = tuple(str(part) for part in _arguments(process)[1:])
        return Ran(arguments, process.returncode, text, time.monotonic() - began)

    def twin(self, *arguments: str) -> Ran:
        return self.end(self.begin(*arguments))

    def twins(self, *commands: Sequence[str]) -> list[Ran]:
        """Commands that begin at the same moment."""
        running = [self.begin(*command) for command in commands]
        return [self.end(process) for process in running]

    def kill(self, process: subprocess.Popen[str]) -> Ran:
        """SIGKILL to a command; what it had started goes on."""
        process.send_signal(signal.SIGKILL)
        return self.end(process)

    def killable(self) -> list[tuple[str, int]]:
        """Programs of the stack and workers of runs that live now, by name and pid."""
        stack = find_stack(self.settings)
        if stack is None:
            return []
        try:
            found = [(name, one.pid) for name, one in sorted(stack.pids().items())]
        except TwinError:
            return []  # in the middle of a stop
        code = dict(found).get("dagster-code")
        workers = psutil.Process(code).children(recursive=True) if code else []
        return found + [("a run's worker", worker.pid) for worker in workers]

    # Posts

    def write_post(self) -> str:
        """A new post in the folder; gives its title."""
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
        self.promised.posts[title] = name
        return title

    # What must be true

    def check(self, *ran: Ran) -> None:
        """Nothing that was promised is missing, and nothing wrong was advised."""
        for one in ran:
            assert not WRONG_ADVICE.search(one.text), str(one)
            assert one.code in {0, 1, 2, 3, 4, 130, -signal.SIGKILL}, str(one)
        with closing(open_key_store(self.settings)) as state:
            listed = {str(row["label"]) for row in list_keys(state)}
            assert set(self.promised.keys) <= listed
            registry = Registry(state, policy_path=self.settings.policy_path)
            known = {version.version for version in registry.versions(SLUG)}
            assert self.promised.versions <= known
            account = open_account(self.settings, state)
            if self.bill.exists():
                counted = sum(row["nano"] + row["reserved_nano"] for row in account.rows())
                assert counted >= sum(line["nano"] for line in read_bill(self.bill))
        for key in self.promised.keys.values():
            assert open_keyring(self.settings).find(f"Bearer {key}")
        assert read_author(self.settings, SLUG).name == NAME

    def expected_titles(self) -> set[str]:
        """Of the posts in the folder that nobody asked to forget."""
        return set(self.promised.posts) - self.promised.forgotten

    def stored_titles(self) -> set[str]:
        """Titles of the posts in the table of documents."""
        with closing(State.open(self.settings.state_address)) as state:
            tables = Tables(self.settings.tables_base, state=state)
            return set(tables.read("raw_posts", SLUG)["title"].to_list())

    def missing_votes(self) -> set[str]:
        """Traces whose vote is neither in the trace store nor on the way to it."""
        with (
            closing(sqlite3.connect(self.settings.home / "outbox.sqlite", timeout=60)) as outbox,
            closing(sqlite3.connect(self.settings.home / "traces.sqlite", timeout=60)) as store,
        ):
            # in the order of a vote's way
            waiting = " ".join(str(row[0]) for row in outbox.execute("SELECT body FROM waiting"))
            scored = {row[0] for row in store.execute("SELECT trace_id FROM scores")}
            traces = {row[0] for row in store.execute("SELECT trace_id FROM observations")}
        missing = {vote for vote in self.promised.votes - scored if vote not in waiting}
        return missing - (self.promised.votes_before - traces)

    def forget_next(self, title: str) -> str:
        """Note that a post is about to be forgotten; gives its file's name."""
        self.promised.forgotten.add(title)
        self.promised.votes_before |= self.promised.votes
        return self.promised.posts[title]


def _arguments(process: subprocess.Popen[str]) -> list[Any]:
    return list(process.args) if isinstance(process.args, list) else [process.args]


@contextmanager
def burners(count: int) -> Iterator[None]:
    """Processes that do nothing but use the processor."""
    burning = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


def trace_of(ran: Ran) -> str:
    """The trace id in what `twin ask` printed; empty: there is none."""
    found = re.search(r"\b[0-9a-f]{32}\b", ran.text)
    return found.group() if found else ""


def key_of(ran: Ran) -> str:
    """The key in what `twin keys add --json` printed; empty: there is none."""
    try:
        return str(json.loads(ran.text)["key"])
    except (ValueError, KeyError):
        return ""
