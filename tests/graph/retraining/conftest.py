"""Prepare two authors with a stable first version, and a real state store and Dagster instance.

Most tests settle values directly in the ledger's tables. Tests of reading use a `LedgerEnvironment`
with a real embedded trace store.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from tests.materialization import create_instance
from tests.model_versions import register_version
from twin_resources.authors import Author, write_author
from twin_resources.idempotent_launch import RunLaunch
from twin_resources.observability.langfuse.client import TraceStoreError
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.ledger import Ledger, LedgerRules
from twin_resources.quality.retraining.quality_tick import run_tick
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.quality.retraining.training_inputs import CorpusGrowth
from twin_resources.quality.retraining.training_launches import TickResult, TickServices
from twin_resources.registry.moves import GateClaim, ModelVersion, Verdict
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.statistics.retraining import TrainingFingerprint
from twin_resources.statistics.retraining_limits import RetrainingLimits
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import upsert
from twin_resources.storage.tables.tables import Tables
from twin_sensors.dagster_run_records import DagsterRunRecords

GATE = "gate-test"
# A test happens on one day, so values are not grouped by day.
SMALL_RULES = LoopRules(150, horizon=1_000, groups_by_day=False)


class EmptyTraceStore:
    """A trace store without new rows. While `failure` is set, reading raises it."""

    failure: TraceStoreError | None = None

    def identify(self) -> str:
        if self.failure is not None:
            raise self.failure
        return "the empty trace store"

    def page(self, path: str, parameters: Any) -> tuple[list[dict[str, Any]], str]:
        if self.failure is not None:
            raise self.failure
        return [], ""


@dataclass
class Inputs:
    """Training inputs that a test sets; `test_training_inputs.py` tests the real ones."""

    datasets: dict[str, str] = field(default_factory=dict[str, str])
    fingerprints: dict[tuple[str, int], TrainingFingerprint] = field(
        default_factory=dict[tuple[str, int], TrainingFingerprint]
    )
    growths: dict[str, CorpusGrowth] = field(default_factory=dict[str, CorpusGrowth])

    def read_current(self, author: str) -> TrainingFingerprint:
        return TrainingFingerprint(self.datasets.get(author, "posts-1"), "recipe")

    def read_for_version(self, version: ModelVersion) -> TrainingFingerprint | None:
        return self.fingerprints.get(
            (version.author, version.version), TrainingFingerprint("posts-1", "recipe")
        )

    def measure_growth(self, version: ModelVersion) -> CorpusGrowth:
        return self.growths.get(version.author, CorpusGrowth(0, 0))


@dg.op
def train(context: dg.OpExecutionContext) -> None:
    if context.run.tags.get("test/fails"):
        raise dg.Failure("the disk was full", allow_retries=False)


@dg.job(name="retrain_twin")
def small_training() -> None:
    train()


@dataclass
class LoopWorld:
    """The data that a tick reads, and the methods with which a test changes it."""

    settings: Settings
    state: State
    registry: Registry
    instance: dg.DagsterInstance
    trace_store: EmptyTraceStore = field(default_factory=EmptyTraceStore)
    inputs: Inputs = field(default_factory=Inputs)
    rules: LoopRules = SMALL_RULES
    limits: RetrainingLimits = field(
        default_factory=lambda: RetrainingLimits(automatic=True, cooldown_days=0.0)
    )
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def tables(self) -> Tables:
        return Tables(self.settings.tables_base, state=self.state)

    def services(self) -> TickServices:
        return TickServices(
            state=self.state,
            ledger=Ledger(self.state, self.trace_store, LedgerRules()),
            registry=self.registry,
            inputs=self.inputs,
            runs=DagsterRunRecords(self.instance),
            rules=self.rules,
            limits=lambda _: self.limits,
            select_startable=lambda launches: (launches, ()),
        )

    def tick(self, **time: float) -> TickResult:
        """Run a tick after this time, by default 30 seconds."""
        self.now += timedelta(**(time or {"seconds": 30}))
        return run_tick(self.services(), now=self.now)

    def release(self, author: str, checkpoint: str, *, force: bool = False) -> int:
        """Register a version and make it stable, with a passed verdict or by force."""
        version = register_version(
            self.registry,
            author,
            checkpoint,
            folder=f"/checkpoints/{checkpoint}",
            dataset_version="posts-1",
        ).version
        self.judge(author, checkpoint, "failed" if force else "passed")
        if force:
            self.registry.move(author, version, "refused", actor="gate", reason="no")
        self.registry.move(
            author,
            version,
            "stable",
            actor="test",
            reason="release",
            force=force,
            gate_version=GATE,
        )
        return version

    def judge(self, author: str, checkpoint: str, outcome: Any) -> None:
        claim = GateClaim("stays_on_topic", outcome == "passed", 0.5, 0.4, "")
        moment = datetime.now(UTC).isoformat()
        self.registry.record_verdict(Verdict(author, checkpoint, GATE, outcome, (claim,), moment))

    def settle(
        self,
        author: str,
        values: Sequence[float],
        *,
        version: str = "v1",
        stream: str = "thumbs",
        readers: Sequence[str] = (),
        prompt_class: str = "short",
        day: int | None = None,
    ) -> list[int]:
        """Settle values in this order, by default each by its own reader; return their numbers."""
        today = int(self.now.timestamp()) // 86_400 if day is None else day
        with self.state.transaction() as connection:
            first_sequence = ledger_tables.find_last_sequence(connection, author) + 1
            rows = [
                {
                    "author": author,
                    "sequence": number,
                    "stream": stream,
                    "version": version,
                    "prompt_class": prompt_class,
                    "value": value,
                    "unit": readers[index % len(readers)] if readers else f"reader-{number}",
                    "day": today - (index // len(readers) if readers else 0),
                    "settled_ms": int(self.now.timestamp() * 1000),
                }
                for index, (number, value) in enumerate(enumerate(values, start=first_sequence))
            ]
            if rows:
                connection.execute(sa.insert(ledger_tables.settled), rows)
                last_row = {"author": author, "last": rows[-1]["sequence"]}
                upsert(connection, ledger_tables.sequences, [last_row])
        return [row["sequence"] for row in rows]

    def add_good(self, author: str, count: int, **options: Any) -> list[int]:
        """Settle values with the mean .8 in a fixed order."""
        return self.settle(author, [0.0 if i % 5 == 2 else 1.0 for i in range(count)], **options)

    def add_bad(self, author: str, count: int, **options: Any) -> list[int]:
        """Settle values with the mean .2 in a fixed order."""
        return self.settle(author, [1.0 if i % 5 == 2 else 0.0 for i in range(count)], **options)

    def launch(self, launches: Sequence[RunLaunch], *, fails: bool = False) -> list[str]:
        """Execute the launches with the daemon's tags, and return the run ids."""
        run_ids: list[str] = []
        for launch in launches:
            tags = self._tags(launch) | ({"test/fails": "yes"} if fails else {})
            run = small_training.execute_in_process(
                instance=self.instance, tags=tags, raise_on_error=False
            )
            run_ids.append(run.run_id)
        return run_ids

    def queue(self, launches: Sequence[RunLaunch]) -> list[str]:
        """Create runs that have not started, as the daemon does, and return their ids."""
        return [
            self.instance.create_run_for_job(
                small_training, tags=self._tags(launch), status=dg.DagsterRunStatus.NOT_STARTED
            ).run_id
            for launch in launches
        ]

    def runs(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(job_name="retrain_twin")))

    def fail(self, run_id: str) -> None:
        """Report the run as failed."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        self.instance.report_run_failed(run)

    @staticmethod
    def _tags(launch: RunLaunch) -> dict[str, str]:
        return {
            **launch.tags,
            "dagster/partition": launch.author,
            "dagster/run_key": launch.run_key,
            "dagster/sensor_name": "quality_dropped",
        }


@pytest.fixture
def world(home: Settings) -> Iterator[LoopWorld]:
    with loop_world(home) as world:
        yield world


@contextmanager
def loop_world(home: Settings) -> Generator[LoopWorld]:
    """Open a new home with two authors, each with a stable version."""
    for slug in ("ada", "bob"):
        write_author(home, Author(slug, slug.title(), consent="2026-01-01: by mail"))
    with open_world(home) as world:
        for slug in ("ada", "bob"):
            world.release(slug, f"{slug}-1")
        yield world


@contextmanager
def open_world(home: Settings) -> Generator[LoopWorld]:
    """Open a home, new or with a history."""
    state = open_home_state(home)
    registry = Registry(state, policy_path=home.policy_path)
    ledger_tables.open_tables(state)
    with create_instance("ada", "bob") as instance:
        yield LoopWorld(home, state, registry, instance)
    state.close()


def add_new_posts(world: LoopWorld, author: str = "ada") -> LoopWorld:
    """Give an author new posts to train on, and return the world."""
    world.inputs.datasets[author] = "posts-2"
    return world
