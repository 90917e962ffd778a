"""Provide a home with the answers of two authors, as the ledger stores them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from tests.materialization import create_instance, materialize_assets
from tests.stored_rows import store_rows
from twin_assets.analytics.sql_models import build_sql_assets
from twin_resources.quality.ledger.interactions_frame import interaction_columns
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

WriteInteractions = Callable[..., None]


def make_answer(author: str, number: int, **changes: Any) -> dict[str, Any]:
    """Return a row of `interactions`: an unscored answer of the stable v1 at noon on 1 March."""
    return {
        "trace_id": f"{author}-{number:03d}",
        "author": author,
        "started_at": NOON + timedelta(seconds=number),
        "version": "v1",
        "checkpoint": "c1",
        "route": "stable",
        "propensity": 1.0,
        "prompt_class": "question",
        "template": "t1",
        "reader": "r1",
        "question": f"SECRET question {number}",
        "answer": f"SECRET answer {number}",
        "chunk_ids": ["d1#0", "d2#3"],
        "latency_s": 2.0,
        "cost_usd": 0.001,
        "degraded": "",
        "simulated": False,
        "batch": False,
        "vote": None,
        "votes": 0,
        "voters": [],
        "judged": None,
        "judgements": 0,
        "edit": None,
        "edit_role": None,
        "edit_reader": None,
        "rejections": 0,
        "rejection_voters": [],
    } | changes


def make_votes(vote: float, *readers: str) -> dict[str, Any]:
    """Return the fields of a row that has votes of these readers."""
    return {"vote": vote, "votes": len(readers), "voters": list(readers)}


@pytest.fixture
def write_interactions(tables: Tables) -> WriteInteractions:
    """Return a function that writes rows to an author's table `interactions`."""

    def write(author: str, rows: list[dict[str, Any]]) -> None:
        store_rows(
            tables, "interactions", author, rows, key="trace_id", schema=interaction_columns()
        )

    return write


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return create_instance("ada", "bob")


Materialize = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def materialize(home: Settings, instance: dg.DagsterInstance) -> Materialize:
    """Return a function that materializes marts by name, from the project's SQL by default."""

    def run(
        *names: str,
        author: str | None = None,
        assets: list[dg.AssetsDefinition] | None = None,
        raise_on_error: bool = True,
    ) -> dg.ExecuteInProcessResult:
        assets_to_run = build_sql_assets() if assets is None else assets
        return materialize_assets(
            [asset for asset in assets_to_run if not names or asset.key.to_user_string() in names],
            author,
            instance,
            raise_on_error=raise_on_error,
        )

    return run
