"""The rows of provider batches, as gateway and run share them: put off, submitted, answered.

Belongs here: their two tables in the state store and what one transaction may change in them.
Does not belong here: what a row's record means (`putting_off.py`), files and the provider
(`batches/provider_batches.py`), money (`account.py`).

A row belongs to the key that asked it and to the fingerprint of its request, so that whoever asks
the same again finds it, whichever gateway answers. It holds texts: forgetting reads every column
of the state store, and a row of a trace goes whole.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from twin_resources.storage.state.state import State

# A run that died may come again for what it has paid for; a provider keeps its files for 30 days.
KEPT_S = 30 * 86_400.0
TOLD_KEPT_S = 86_400.0  # as an answer of an `Idempotency-Key`

RowStatus = Literal["waiting", "submitted", "answered", "failed"]
BatchStatus = Literal["made", "under_way", "ended"]

_metadata = sa.MetaData()
_rows = sa.Table(
    "provider_batch_rows",
    _metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("trace_id", sa.String(32), nullable=False),
    sa.Column("reader", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("batch", sa.String(32), nullable=False, index=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("usd", sa.Double, nullable=False),
    sa.Column("expires", sa.Double, nullable=False, index=True),
)
_batches = sa.Table(
    "provider_batches",
    _metadata,
    sa.Column("batch", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("provider_batch", sa.Text, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("reservation", sa.Integer, nullable=False),
    sa.Column("most_usd", sa.Double, nullable=False),
    sa.Column("expires", sa.Double, nullable=False, index=True),
)


@dataclass(frozen=True)
class BatchRow:
    """One request that waits for a provider's batch, or has its answer.

    Attributes:
        request: `messages` and the parameters of the call, as they are sent.
        record: of the answer that they are for (`putting_off.py`), JSON.
        batch: whose it is; empty: of none yet.
        answer: a chat completion as the provider wrote it; empty: there is none.
        error: why there is none, for people; empty: there is one, or it is under way.
        usd: what it has cost.
    """

    key: str
    fingerprint: str
    author: str
    trace_id: str
    reader: str
    request: Mapping[str, Any]
    record: str
    status: RowStatus = "waiting"
    batch: str = ""
    answer: Mapping[str, Any] | None = None
    error: str = ""
    usd: float = 0.0


@dataclass(frozen=True)
class RowEnd:
    """How a row ended; see `BatchRow`."""

    answer: Mapping[str, Any] | None
    error: str
    usd: float


@dataclass(frozen=True)
class ProviderBatch:
    """One batch at a provider.

    Attributes:
        batch: our name of it, which the provider has among its metadata.
        model: LiteLLM name. provider_batch: its name there; empty: not known to be submitted.
        reservation: its number in the account; 0: none is made.
        most_usd: that was reserved.
    """

    batch: str
    key: str
    author: str
    model: str
    provider_batch: str = ""
    status: BatchStatus = "made"
    reservation: int = 0
    most_usd: float = 0.0


class BatchRows:
    """Both tables; safe to share between threads and processes.

    Args:
        state: the state store.
        clock: seconds since 1970; by default the store's own.
    """

    def __init__(self, state: State, *, clock: Callable[[], float] | None = None) -> None:
        self._state = state
        self._clock = clock
        with state.transaction() as connection:
            _metadata.create_all(connection)

    def find(self, key: str, fingerprint: str) -> BatchRow | None:
        """A row of a key."""
        with self._state.reading() as connection:
            rows = connection.execute(sa.select(_rows).where(_is(key, fingerprint))).mappings()
            row = rows.first()
        return None if row is None else _row(row)

    def of(self, key: str, fingerprints: Collection[str]) -> list[BatchRow]:
        """Those rows of a key that are there."""
        with self._state.reading() as connection:
            rows = connection.execute(sa.select(_rows).where(_rows.c.key == key)).mappings()
            return [_row(row) for row in rows if row["fingerprint"] in fingerprints]

    def of_batch(self, batch: str) -> list[BatchRow]:
        """The rows of a batch that are there, those that were forgotten are not."""
        with self._state.reading() as connection:
            rows = connection.execute(sa.select(_rows).where(_rows.c.batch == batch)).mappings()
            return [_row(row) for row in rows]

    def put_off(self, row: BatchRow) -> None:
        """Keep a request for a batch, in the place of an earlier one that was never submitted."""
        with self._state.transaction() as connection:
            now = self._now(connection)
            connection.execute(sa.delete(_rows).where(_rows.c.expires <= now))
            connection.execute(sa.delete(_batches).where(_batches.c.expires <= now))
            connection.execute(sa.delete(_rows).where(_is(row.key, row.fingerprint)))
            connection.execute(
                sa.insert(_rows).values(
                    key=row.key,
                    fingerprint=row.fingerprint,
                    author=row.author,
                    trace_id=row.trace_id,
                    reader=row.reader,
                    status="waiting",
                    batch="",
                    request=json.dumps(dict(row.request), ensure_ascii=False),
                    record=row.record,
                    answer="",
                    error="",
                    usd=0.0,
                    expires=now + TOLD_KEPT_S,
                )
            )

    def told(self, row: BatchRow) -> None:
        """Its answer has gone out: kept a day for who was cut off. An error is told once."""
        with self._state.transaction() as connection:
            mine = _is(row.key, row.fingerprint)
            if row.status == "failed":
                connection.execute(sa.delete(_rows).where(mine))
            else:
                expires = self._now(connection) + TOLD_KEPT_S
                connection.execute(sa.update(_rows).where(mine).values(expires=expires))

    def make(self, batch: ProviderBatch, rows: Sequence[BatchRow]) -> None:
        """Begin a batch of waiting rows: from here on they are never put off anew."""
        with self._state.transaction() as connection:
            expires = self._now(connection) + KEPT_S
            connection.execute(
                sa.insert(_batches).values(
                    batch=batch.batch,
                    key=batch.key,
                    author=batch.author,
                    model=batch.model,
                    provider_batch="",
                    status="made",
                    reservation=batch.reservation,
                    most_usd=batch.most_usd,
                    expires=expires,
                )
            )
            for row in rows:
                connection.execute(
                    sa.update(_rows)
                    .where(_is(row.key, row.fingerprint))
                    .values(status="submitted", batch=batch.batch, expires=expires)
                )

    def reserved(self, batch: ProviderBatch, *, number: int) -> None:
        """What it can cost at most is set aside."""
        with self._state.transaction() as connection:
            connection.execute(
                sa.update(_batches)
                .where(_batches.c.batch == batch.batch)
                .values(reservation=number)
            )

    def unmake(self, batch: ProviderBatch) -> None:
        """It was not submitted, for certain: its rows wait again."""
        with self._state.transaction() as connection:
            connection.execute(sa.delete(_batches).where(_batches.c.batch == batch.batch))
            connection.execute(
                sa.update(_rows)
                .where(_rows.c.batch == batch.batch)
                .values(status="waiting", batch="", expires=self._now(connection) + TOLD_KEPT_S)
            )

    def submitted(self, batch: ProviderBatch, provider_batch: str) -> None:
        """The provider has it."""
        with self._state.transaction() as connection:
            connection.execute(
                sa.update(_batches)
                .where(_batches.c.batch == batch.batch)
                .values(provider_batch=provider_batch, status="under_way")
            )

    def ended(self, batch: ProviderBatch, ends: Mapping[str, RowEnd]) -> None:
        """Keep how its rows ended, by fingerprint; one that was forgotten meanwhile stays so."""
        with self._state.transaction() as connection:
            for fingerprint, end in ends.items():
                answer = json.dumps(dict(end.answer), ensure_ascii=False) if end.answer else ""
                connection.execute(
                    sa.update(_rows)
                    .where(_is(batch.key, fingerprint), _rows.c.batch == batch.batch)
                    .values(
                        status="answered" if end.answer else "failed",
                        answer=answer,
                        error=end.error,
                        usd=end.usd,
                    )
                )
            connection.execute(
                sa.update(_batches).where(_batches.c.batch == batch.batch).values(status="ended")
            )

    def batches(
        self, key: str = "", *, names: Collection[str] | None = None
    ) -> list[ProviderBatch]:
        """Batches that have not ended, of a key (empty: of all), among those names."""
        with self._state.reading() as connection:
            rows = connection.execute(
                sa.select(_batches).where(_batches.c.status != "ended")
            ).mappings()
            columns = ProviderBatch.__dataclass_fields__
            every = [ProviderBatch(**{name: row[name] for name in columns}) for row in rows]
        return [
            one
            for one in every
            if (not key or one.key == key) and (names is None or one.batch in names)
        ]

    def batch(self, name: str) -> ProviderBatch | None:
        """One of them, ended or not."""
        with self._state.reading() as connection:
            rows = connection.execute(sa.select(_batches).where(_batches.c.batch == name))
            row = rows.mappings().first()
        columns = ProviderBatch.__dataclass_fields__
        return None if row is None else ProviderBatch(**{one: row[one] for one in columns})

    def _now(self, connection: sa.Connection) -> float:
        return self._clock() if self._clock is not None else self._state.now(connection)


def at_providers(state: State) -> list[tuple[str, BatchRow]]:
    """Every row that a provider was sent, with the model's name; of no trace that is written yet
    forgetting knows otherwise."""
    with state.transaction() as connection:
        _metadata.create_all(connection)
    with state.reading() as connection:
        joined = sa.select(_rows, _batches.c.model).join(
            _batches, _rows.c.batch == _batches.c.batch
        )
        return [(row["model"], _row(row)) for row in connection.execute(joined).mappings()]


def _is(key: str, fingerprint: str) -> sa.ColumnElement[bool]:
    return sa.and_(_rows.c.key == key, _rows.c.fingerprint == fingerprint)


def _row(row: Mapping[Any, Any]) -> BatchRow:
    return BatchRow(
        key=row["key"],
        fingerprint=row["fingerprint"],
        author=row["author"],
        trace_id=row["trace_id"],
        reader=row["reader"],
        request=json.loads(row["request"]),
        record=row["record"],
        status=row["status"],
        batch=row["batch"],
        answer=json.loads(row["answer"]) if row["answer"] else None,
        error=row["error"],
        usd=row["usd"],
    )
