"""Test the asset `interactions`: the ledger as a table, even if the trace store is unavailable."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.materialization import create_instance, materialize_assets
from tests.settled_rows import settled_rows
from tests.unit.ledger.conftest import LedgerEnvironment, to_trace_id
from tests.unit.ledger.conftest import environment as make_environment
from twin_assets.feedback.interactions import interactions, no_text_of_a_reader_holds_personal_data
from twin_assets.feedback.redaction import find_personal_data, redact_personal_data
from twin_resources.settings import PACES, Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

environment = make_environment  # the fixture


@pytest.fixture
def filled_ledger(
    environment: LedgerEnvironment, home: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LedgerEnvironment]:
    """Yield a ledger that has read a trace store, which is now unavailable."""
    monkeypatch.setenv("TWIN_TRACES_PORT", "9")  # nothing listens on this port
    environment.state = open_home_state(home)
    environment.set_time(datetime.now(UTC) - timedelta(hours=1)).answer(1, 2, 3)
    environment.answer(4, author="bob")
    environment.vote(1, 1.0)
    environment.vote(1, 0.0, reader="r2")
    environment.vote(2, "Write to me: ann@bell.org", name="output", **{"twin.role": "author"})
    environment.tick()
    yield environment
    environment.state.close()


def materialize(author: str = "ann") -> tuple[dict[str, Any], bool]:
    instance = create_instance("ann", "bob", "nobody")
    result = materialize_assets(
        [interactions, no_text_of_a_reader_holds_personal_data], author, instance
    )
    [event] = result.asset_materializations_for_node("interactions")
    [check] = result.get_asset_check_evaluations()
    values = {name: value.value for name, value in event.metadata.items()}
    return values | {"data_version": (event.tags or {})["dagster/data_version"]}, check.passed


@pytest.mark.long
def test_a_second_snapshot_changes_nothing(
    filled_ledger: LedgerEnvironment, home: Settings
) -> None:
    first, passed = materialize()
    assert passed
    assert (first["dagster/row_count"], first["with_votes"], first["with_edits"]) == (3, 1, 1)
    assert first["readers"] == 2
    assert "trace store unreachable" in first["sync"]
    tables = Tables(home.tables_base, state=open_home_state(home))
    frame = tables.read("interactions", "ann").sort("trace_id")
    assert frame["trace_id"].to_list() == [to_trace_id(number) for number in (1, 2, 3)]
    assert frame["vote"].to_list() == [0.5, None, None]
    assert frame["edit"].to_list() == [None, "Write to me: [e-mail]", None]
    assert frame["chunk_ids"].to_list()[0] == ["c1", "c2"]
    second, _ = materialize()
    assert (second["data_version"], second["written"]) == (first["data_version"], 0)
    assert materialize("bob")[0]["dagster/row_count"] == 1
    assert materialize("nobody")[0]["dagster/row_count"] == 0


def test_reader_days_close_by_the_configured_rule(
    filled_ledger: LedgerEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize()
    assert settled_rows(filled_ledger.ledger(), "ann") == []
    monkeypatch.setitem(PACES, "", {"reader_days": "at_once"})
    materialize()
    values = [settled_row.value for settled_row in settled_rows(filled_ledger.ledger(), "ann")]
    assert sorted(values) == [0.0, 1.0]


def test_remaining_personal_data_fails_the_check(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "trace_id": ["a", "b"],
            "question": ["clean", "call +49 170 1234567"],
            "answer": ["one@bell.org", ""],
            "edit": [None, None],
        },
        schema_overrides={"edit": pl.String},
    )
    remaining = find_personal_data(frame)
    assert remaining.rows() == [("a", ["e-mail"]), ("b", ["phone"])]
    assert find_personal_data(redact_personal_data(frame)).is_empty()
