"""Run a ledger and the real embedded trace store in this process, with a clock that tests set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.answer_spans import answer_span, export_spans
from tests.postgresql_server import postgresql, postgresql_url
from twin_resources.authors.score_settings import CountedScores
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.observability.langfuse.outbox import QueuedScore, score_id
from twin_resources.observability.trace_store.local_store import Keys, build_app
from twin_resources.observability.trace_store.posted_scores import build_score_row
from twin_resources.observability.trace_store.trace_tables import TraceTables
from twin_resources.quality.ledger.ledger import Ledger, LedgerRules
from twin_resources.quality.ledger.report import SyncReport
from twin_resources.storage.state.state import State

__all__ = ["postgresql", "postgresql_url"]  # fixtures
KEYS = Keys("pk-lf-test", "sk-lf-test")
MORNING = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def to_trace_id(number: int) -> str:
    return f"{number:032x}"


@dataclass
class RecordingClient:
    """A client that records its requests with the test's time and fails on demand."""

    client: LangfuseClient
    environment: LedgerEnvironment | None = None
    requests: list[datetime] = field(default_factory=list)
    queries: list[Mapping[str, str]] = field(default_factory=list)
    failures: list[TraceStoreError] = field(default_factory=list)

    def identify(self) -> str:
        return self.client.identify()

    def page(self, path: str, parameters: Mapping[str, str]) -> tuple[list[dict[str, Any]], str]:
        assert self.environment is not None
        self.requests.append(self.environment.now)
        self.queries.append(parameters)
        if self.failures:
            raise self.failures.pop(0)
        return self.client.page(path, parameters)


@dataclass
class LedgerEnvironment:
    """A trace store and a ledger with one clock."""

    tables: TraceTables
    http: TestClient
    client: RecordingClient
    state: State
    now: datetime = MORNING
    counted_scores: dict[str, CountedScores] = field(default_factory=dict[str, CountedScores])

    def ledger(self, **rules: Any) -> Ledger:
        ledger_rules = LedgerRules(**rules)
        return Ledger(
            self.state, self.client, ledger_rules, load_counted_scores=lambda: self.counted_scores
        )

    def set_time(self, moment: datetime) -> LedgerEnvironment:
        self.now = moment
        return self

    def pass_time(self, **time: float) -> LedgerEnvironment:
        self.now += timedelta(**time)
        return self

    def sync(self, **rules: Any) -> SyncReport:
        return self.ledger(**rules).sync(self.now)

    def tick(self, **rules: Any) -> SyncReport:
        """Sync two minutes later, when the store shows its newest rows."""
        return self.pass_time(minutes=2).sync(**rules)

    def answer(self, *numbers: int, author: str = "ann", **extra_metadata: str) -> None:
        """Export an answer's trace for each number, as the gateway does."""
        metadata = {"propensity": "1", "chunks": "c1,c2", "cost_usd": "0.000001"} | extra_metadata
        attributes = {
            "langfuse.observation.input": '[{"role": "user", "content": '
            '"From my posts:\\n\\n[1] Oil (undated)\\nOne drop.\\n\\n'
            'Question: How much oil? Mail ann@bell.org"}]',
            "langfuse.observation.output": '{"role": "assistant", "content": "One."}',
        }
        spans = [
            answer_span(number, self.now, attributes=attributes, author=author, **metadata)
            for number in numbers
        ]
        export_spans(self.http, *spans)

    def post(self, number: int, name: str, value: float | str, **fields: Any) -> None:
        """Post a score without metadata or an id, as another program does."""
        body = {"traceId": to_trace_id(number), "name": name, "value": value} | fields
        response = self.http.post("/api/public/scores", json=body)
        assert response.status_code == 200, response.text

    def write_score(
        self, number: int, name: str, value: float | str, *, source: str, person: str = ""
    ) -> None:
        """Write a score that the API does not take: an evaluator's, or a person's in the page."""
        body = {"traceId": to_trace_id(number), "name": name, "value": value}
        row = build_score_row(body, now_ms=int(self.now.timestamp() * 1000))
        self.tables.put_scores([replace(row, source=source, author_user_id=person or None)])

    def vote(
        self,
        number: int,
        value: float | str,
        *,
        reader: str = "r1",
        name: str = "thumbs",
        **fields: Any,
    ) -> str:
        """Post a reader's score, as the relay does, and return its id."""
        metadata = {"twin.reader": reader, "twin.role": "reader", "twin.authors": "*"}
        metadata |= {key: value for key, value in fields.items() if key.startswith("twin.")}
        score = QueuedScore(
            fields.get("id", score_id(name, reader, to_trace_id(number))),
            to_trace_id(number),
            name,
            value,
            "CORRECTION" if name == "output" else "NUMERIC",
            metadata=metadata,
        )
        response = self.http.post("/api/public/scores", json=score.body())
        assert response.status_code == 200, response.text
        return score.id


@pytest.fixture
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerEnvironment]:
    """Yield an environment with a ledger in SQLite or, by an indirect parameter, in PostgreSQL."""
    url = f"sqlite:///{tmp_path / 'state.sqlite'}"
    if getattr(request, "param", "sqlite") == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    tables = TraceTables(tmp_path / "traces.sqlite")
    environments: list[LedgerEnvironment] = []
    app = build_app(tables, keys=KEYS, now_ms=lambda: int(environments[0].now.timestamp() * 1000))
    with TestClient(app) as http:
        http.auth = (KEYS.public, KEYS.secret)
        client = LangfuseClient("http://testserver", public_key="", secret_key="", http=http)
        recording_client = RecordingClient(client)
        state = State.open(url)
        environments.append(LedgerEnvironment(tables, http, recording_client, state))
        recording_client.environment = environments[0]
        yield environments[0]
        state.close()
