"""Test that the ledger counts scores that a site writes with the REST API.

The store runs as a process. The spans are as the gateway writes them.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.answer_spans import answer_span, export_spans
from tests.live.trace_store.conftest import PUBLIC_KEY, SECRET_KEY, RunningStore
from tests.settled_rows import settled_rows
from twin_resources.authors.score_settings import read_scores
from twin_resources.quality.ledger.ledger import Ledger, LedgerRules
from twin_resources.quality.retraining.alarm_records import count_excluded_scores
from twin_resources.storage.state.state import State

pytestmark = pytest.mark.live
TRACES = [f"{number:032x}" for number in range(1, 6)]
SCORE_SETTINGS = {
    "user-feedback": "thumbs",
    "stars": {"range": [1, 5]},
    "mood": {"stream": "thumbs", "values": {"happy": 1, "angry": 0}},
    "correctness": {"by": "judge"},
}


def test_scores_from_the_rest_api_are_counted(store: RunningStore, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    keys = (PUBLIC_KEY, SECRET_KEY)
    with httpx.Client(base_url=store.host, auth=keys, trust_env=False, timeout=120) as http:
        for number in range(1, 6):
            at, reader = now - timedelta(minutes=5), f"reader-{number}"
            export_spans(http, answer_span(number, at, author="ann", version="v2", reader=reader))
        for score in (
            {"traceId": TRACES[0], "name": "user-feedback", "value": 1, "dataType": "BOOLEAN"},
            {"traceId": TRACES[1], "name": "user-feedback", "value": 0.0, "dataType": "NUMERIC"},
            {"traceId": TRACES[2], "name": "mood", "value": "happy", "dataType": "CATEGORICAL"},
            {"traceId": TRACES[0], "name": "stars", "value": 4},
            {"traceId": TRACES[0], "name": "tone", "value": "dry"},
            {"traceId": TRACES[3], "name": "user-feedback", "value": 1, "dataType": "BOOLEAN"},
            {"traceId": TRACES[4], "name": "mood", "value": "angry", "dataType": "CATEGORICAL"},
            {"traceId": TRACES[4], "name": "correctness", "value": 0.5},
            {"traceId": TRACES[4], "name": "stars", "value": 9},
        ):
            assert http.post("/api/public/scores", json=score).status_code == 200

    state = State.open(f"sqlite:///{tmp_path / 'state.sqlite'}")
    rules = LedgerRules(lag_s=0, closing="at_once", requests_per_minute=600)
    with store.client() as client:
        ledger = Ledger(
            state, client, rules, load_counted_scores=lambda: {"ann": read_scores(SCORE_SETTINGS)}
        )
        report = ledger.sync(datetime.now(UTC) + timedelta(seconds=5))
    settled = [(row.stream, row.version, row.value) for row in settled_rows(ledger, "ann")]
    sys.stderr.write(f"{report.message}\n")
    assert report.problem == ""
    assert sorted(settled) == [
        ("judge:correctness", "v2", 0.5),
        ("stars", "v2", 0.75),
        *[("thumbs", "v2", 0.0)] * 2,
        *[("thumbs", "v2", 1.0)] * 3,
    ]
    with state.read_transaction() as connection:
        assert count_excluded_scores(connection, "ann") == {
            "not in [scores]: tone": 1,
            "out_of_range": 1,
        }
    assert ledger.interactions("ann")["votes"].to_list() == [1] * 5
    state.close()
