"""Define the SQL tables of the state store and its schema version.

Scope: the SQL tables of written Lance tables, inputs that produced no rows, model versions,
verdicts, state changes of versions (moves) and trials, and those of the retraining loop
(stream evidence, alarms, retrainings, notices). `upsert` writes rows of any table.
Out of scope: queries (`state.py`, `lease.py`, `registry/registry.py` and others) and Lance tables.
Method: SQLAlchemy Core metadata, https://docs.sqlalchemy.org/en/20/core/metadata.html
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

SCHEMA_VERSION = 1  # increase it with every change that older code cannot read

metadata = sa.MetaData()

# Dagster's tables, which may be in the same PostgreSQL database.
DAGSTER_TABLES = frozenset(
    {
        *("alembic_version", "asset_check_executions", "asset_daemon_asset_evaluations"),
        *("asset_event_tags", "asset_keys", "backfill_tags", "bulk_actions", "concurrency_limits"),
        *("concurrency_slots", "daemon_heartbeats", "dynamic_partitions", "event_logs"),
        *("instance_info", "instigators", "job_ticks", "jobs", "kvs", "pending_steps"),
        *("run_tags", "runs", "secondary_indexes", "snapshots"),
    }
)


def _primary_key(*names: str) -> list[sa.Column[str]]:
    """Return text columns with these names as a primary key."""
    return [sa.Column(name, sa.Text, primary_key=True) for name in names]


def _alarm_key() -> list[sa.Column[str] | sa.Column[int]]:
    """Return the columns of an alarm's key: author, stream, version and number."""
    number = sa.Column("number", sa.Integer, primary_key=True)
    return [*_primary_key("author", "stream", "version"), number]


# `number` is the schema version of a store: this one (`state`) or the `ledger`. `home` identifies
# the state store, as does `home.json` in each home that uses it (`home_state.py`).
schema_versions = sa.Table(
    "schema_number",
    metadata,
    sa.Column("store", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("home", sa.String(32), nullable=False, server_default=""),
)

# The tables that were written here, and by whom. Readers use it to detect that a table may have
# changed (`newest_versions.py`).
written_tables = sa.Table(
    "written_tables",
    metadata,
    sa.Column("table_uri", sa.Text, primary_key=True),
    sa.Column("last_writer", sa.String(32), nullable=False, server_default=""),
    sa.Column("writer", sa.String(32), nullable=False),  # empty if none is at work
)

# Inputs for which a table's function returned no row, so no row can store their hash.
empty_inputs = sa.Table(
    "empty_inputs",
    metadata,
    sa.Column("table_uri", sa.Text, primary_key=True),
    sa.Column("input_key", sa.Text, primary_key=True),
    sa.Column("input_hash", sa.LargeBinary(32), nullable=False),
    sa.Column("version", sa.Text, nullable=False),
)

model_versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("author", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("checkpoint", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("tainted", sa.Boolean, nullable=False),
    sa.Column("forced", sa.Boolean, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("adapter_gguf", sa.Text),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("base_gguf", sa.Text, nullable=False),
    sa.Column("template", sa.Text, nullable=False),
    sa.Column("dataset_version", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False, server_default="tuned"),
    sa.UniqueConstraint("author", "checkpoint"),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("checkpoint", sa.Text, nullable=False, index=True),
    sa.Column("gate_version", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("claims", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
)

# Changes of a version's state, such as from candidate to stable.
moves = sa.Table(
    "moves",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("author", sa.Text, nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("from_state", sa.String(16), nullable=False),
    sa.Column("to_state", sa.String(16), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("forced", sa.Boolean, nullable=False),
    sa.Column("moved_at", sa.Text, nullable=False),
)

routing = sa.Table(
    "routing",
    metadata,
    sa.Column("author", sa.Text, primary_key=True),
    sa.Column("table", sa.JSON, nullable=False),
    sa.Column("written_at", sa.Text, nullable=False),
)

# Trials of a version against the stable version: the conditions, and the evidence after the last
# pair. `entered` is the number of the move that started the trial; `incumbent` is the stable
# version.
trials = sa.Table(
    "trials",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("author", sa.Text, nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("entered", sa.Integer, nullable=False),
    sa.Column("mode", sa.String(16), nullable=False),
    sa.Column("incumbent", sa.Integer, nullable=False),
    sa.Column("judges", sa.Text, nullable=False),
    sa.Column("began_at", sa.Double, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("finding", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("paired_at", sa.Double),  # time of the last pair; null if unknown or none
)

# How far the loop (`retraining/`) has read an author's settled values for the stable version: up to
# the sequence number `read_to`. `evidence` is stream → `statistics.detector.StreamEvidence`, and
# `armed` the number of streams in which a drop would be detected. The sum of `armed` determines the
# alarm threshold of the whole home.
watches = sa.Table(
    "watches",
    metadata,
    *_primary_key("author"),
    sa.Column("version", sa.Text, nullable=False),  # empty after a person lowered the floor
    sa.Column("read_to", sa.BigInteger, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("armed", sa.Integer, nullable=False),
)

alarms = sa.Table(
    "alarms",
    metadata,
    *_alarm_key(),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("raised_at", sa.Double, nullable=False),
    sa.Column("status", sa.String(8), nullable=False),
    sa.Column("decision", sa.String(24), nullable=False),
    sa.Column("decided_by", sa.String(24), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("run_key", sa.Text, nullable=False),
    sa.Column("decided_at", sa.Double),
    sa.Index("alarms_by_status", "status", "author"),
)

# Retrainings that were decided, for any cause. `offered_at` is the time of the last request to
# Dagster, and `made` the resulting version (null if unknown or none). `outcome` is empty until the
# last attempt has ended.
retrainings = sa.Table(
    "retrainings",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_key", sa.Text, nullable=False, unique=True),
    sa.Column("author", sa.Text, nullable=False, index=True),
    sa.Column("cause", sa.String(16), nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("decided_at", sa.Double, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("offered_at", sa.Double),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False, index=True),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("recipe", sa.Text, nullable=False),
    sa.Column("ended_at", sa.Double),
    sa.Column("made", sa.Integer),
)

# The code location that last requested a run for a job and author
# (`twin_sensors/launchable_runs.py`).
launch_claims = sa.Table(
    "launch_claims",
    metadata,
    *_primary_key("job", "author"),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("claimed_at", sa.Double, nullable=False),
)

# What somebody asked the loop to do, and why. A retraining (for a person, a forget request or an
# alarm from outside) is fulfilled once `run_key` is set. A lowered floor has `after_sequence`: the
# author's values up to it are neither compared nor used as a reference for later ones.
loop_requests = sa.Table(
    "loop_requests",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("author", sa.Text, nullable=False, index=True),
    sa.Column("cause", sa.String(16), nullable=False),
    sa.Column("asked_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("asked_at", sa.Double, nullable=False),
    sa.Column("run_key", sa.Text, nullable=False),
    sa.Column("after_sequence", sa.BigInteger),
)

# Notices to people. Each is stored in its event's transaction and sent afterwards
# (`notifications.py`).
notices = sa.Table(
    "notices",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("author", sa.Text, nullable=False, index=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("links", sa.JSON, nullable=False),
    sa.Column("announced_at", sa.Double, nullable=False),
    sa.Column("sent_to", sa.JSON, nullable=False),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
)

# What an author decided about readers' questions (`question_rules.py`). `cluster` is the id under
# which the command listed them; without a document, the twin declines. Each row has its question's
# trace, so an erasure of the reader, or of the quoted post, deletes it.
question_rules = sa.Table(
    "question_rules",
    metadata,
    *_primary_key("trace_id"),
    sa.Column("author", sa.Text, nullable=False, index=True),
    sa.Column("cluster", sa.Text, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("document_id", sa.Text, nullable=False),
    sa.Column("chunk_id", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, or replace those with the same primary key."""
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    updates = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_=updates), list(rows)
    )
