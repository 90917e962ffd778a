"""Keep the erasure journal: requests, their progress, and hashes of forgotten posts.

Scope: three tables of the state store, and reading and writing them.
Out of scope: the erasure (`erasing.py`), the stores that are its steps (`data_stores.py`).
Method: a redo log, Gray and Reuter, "Transaction Processing", 1993, chapter 9. The plan is written
before the first step, and each step may be repeated, so a crash only causes a repeated step.

Until a request is done, its row contains the subject and its identifiers; then hashes replace them.
The hashes of forgotten posts stay, so that the next import omits these posts.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa

from twin_resources.erasure.erasure_target import ErasureSubject, Kind, hash_parts
from twin_resources.errors import TwinError
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import upsert

_metadata = sa.MetaData()
requests = sa.Table(
    "forget_requests",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("subject_hash", sa.String(64), nullable=False, index=True),
    sa.Column("subject", sa.JSON, nullable=False),  # {} once the request is done
    sa.Column("plan", sa.Text, nullable=False),  # `ErasureTarget.to_json`; empty once done
    sa.Column("erased", sa.JSON, nullable=False),  # erased store → number of erased items
    sa.Column("asked_by", sa.Text, nullable=False),
    sa.Column("asked_at", sa.Double, nullable=False),
    sa.Column("done_at", sa.Double),
    sa.Column("certificate", sa.Text, nullable=False),
)
forgotten_post_hashes = sa.Table(
    "forgotten_posts",
    _metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("forgotten_at", sa.Double, nullable=False),
)
# The table stores hashes of the deletions requested from a trace store, until the request is done.
# A row with an empty hash records the time at which the store postponed a deletion.
deletions = sa.Table(
    "forget_deletions",
    _metadata,
    sa.Column("request", sa.Integer, primary_key=True),
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("asked_at", sa.Double, nullable=False),
)
TABLES = (requests, forgotten_post_hashes, deletions)
POSTPONED = ""  # the hash in a row for a postponed deletion


@dataclass(frozen=True)
class ErasureRequest:
    """One request to erase a subject.

    Attributes:
        subject: the data to erase, or None once the request is done.
        key_hash: hash of the reader's key, if the request contained the key.
        plan: the target as JSON; empty before the first step.
        certificate: name of the certificate's file; empty until the request is done.
    """

    number: int
    kind: Kind
    subject_hash: str
    subject: ErasureSubject | None
    key_hash: str
    plan: str
    asked_by: str
    asked_at: float
    done_at: float | None
    certificate: str


def open_journal(state: State) -> None:
    """Create the journal's tables if they are missing."""
    with state.transaction() as connection:
        _metadata.create_all(connection)


def open_request(
    state: State, subject: ErasureSubject, *, asked_by: str, key_hash: str = ""
) -> int:
    """Add a request, or find the unfinished one for the same subject.

    Returns:
        The request's number.
    """
    open_journal(state)
    with state.transaction() as connection:
        existing_number = connection.execute(
            sa.select(requests.c.number).where(
                requests.c.subject_hash == subject.digest, requests.c.done_at.is_(None)
            )
        ).scalar()
        if existing_number is not None:
            return int(existing_number)
        fields = {"author": subject.author, "name": subject.name, "key_hash": key_hash}
        return connection.execute(
            sa.insert(requests)
            .values(
                kind=subject.kind,
                subject_hash=subject.digest,
                subject=fields,
                plan="",
                erased={},
                asked_by=asked_by,
                asked_at=state.now(connection),
                certificate="",
            )
            .returning(requests.c.number)
        ).scalar_one()


def find_request(state: State, number: int) -> ErasureRequest:
    """Return one request.

    Raises:
        TwinError: no request has that number.
    """
    open_journal(state)
    with state.read_transaction() as connection:
        row = connection.execute(sa.select(requests).where(requests.c.number == number)).mappings()
        first_row = row.first()
    if first_row is None:
        raise TwinError(
            f"find the erasure request {number}",
            found="no such request in the state store",
            next_step="make a new request with `twin forget`",
        )
    return _build_request(first_row)


def list_unfinished_requests(state: State) -> list[ErasureRequest]:
    """Return the requests that are not done, oldest first."""
    open_journal(state)
    with state.read_transaction() as connection:
        statement = sa.select(requests).where(requests.c.done_at.is_(None))
        rows = connection.execute(statement.order_by(requests.c.number)).mappings()
        return [_build_request(row) for row in rows]


def _build_request(row: Any) -> ErasureRequest:
    values = {name: value for name, value in dict(row).items() if name != "erased"}
    fields = cast("dict[str, str]", values.pop("subject"))
    kind = cast("Kind", values["kind"])
    subject = ErasureSubject(kind, fields["author"], fields["name"]) if fields else None
    return ErasureRequest(**values, subject=subject, key_hash=fields.get("key_hash", ""))


def write_plan(state: State, number: int, plan: str) -> None:
    """Store the request's plan before the erasure starts."""
    with state.transaction() as connection:
        connection.execute(sa.update(requests).where(requests.c.number == number).values(plan=plan))


def read_completed_steps(state: State, number: int) -> dict[str, int]:
    """Return the number of erased items by store, for the stores that were erased."""
    with state.read_transaction() as connection:
        return _read_erased(connection, number)


def record_step(state: State, number: int, store_name: str, erased_count: int) -> None:
    """Record that a store was erased; a repeated step adds to its count."""
    with state.transaction() as connection:  # one writer at a time, so no count is lost
        erased = _read_erased(connection, number)
        erased[store_name] = erased.get(store_name, 0) + erased_count
        is_this_request = requests.c.number == number
        connection.execute(sa.update(requests).where(is_this_request).values(erased=erased))


def _read_erased(connection: sa.Connection, number: int) -> dict[str, int]:
    statement = sa.select(requests.c.erased).where(requests.c.number == number)
    return dict(connection.execute(statement).scalar_one())


def record_deletions(state: State, number: int, hashes: Iterable[str]) -> None:
    """Record hashes of deletions that a trace store accepted, or `POSTPONED` if it refused one."""
    with state.transaction() as connection:
        now = state.now(connection)
        rows = [{"request": number, "hash": digest, "asked_at": now} for digest in hashes]
        upsert(connection, deletions, rows)


def read_requested_deletions(state: State, number: int) -> dict[str, float]:
    """Return the time of each requested deletion, in seconds since 1970, by its hash."""
    statement = sa.select(deletions.c.hash, deletions.c.asked_at)
    with state.read_transaction() as connection:
        rows = connection.execute(statement.where(deletions.c.request == number))
        return {str(row.hash): float(row.asked_at) for row in rows}


def close_request(state: State, number: int, certificate: str) -> None:
    """Mark a request as done; only hashes of the subject stay in its row."""
    with state.transaction() as connection:
        connection.execute(sa.delete(deletions).where(deletions.c.request == number))
        connection.execute(
            sa.update(requests)
            .where(requests.c.number == number)
            .values(subject={}, plan="", done_at=state.now(connection), certificate=certificate)
        )


# Forgotten posts


def record_forgotten_posts(
    state: State, author: str, source_ids: Iterable[str], texts: Iterable[str]
) -> None:
    """Record hashes of posts, so that an import omits the posts.

    Args:
        source_ids: ids of the posts.
        texts: the posts' `content_hash` values; the same text under another name is omitted too.
    """
    open_journal(state)
    hashes = {hash_parts("source", author, source_id) for source_id in source_ids}
    hashes |= {hash_parts("text", author, text) for text in texts}
    with state.transaction() as connection:
        now = state.now(connection)
        rows = [{"hash": post_hash, "forgotten_at": now} for post_hash in sorted(hashes)]
        upsert(connection, forgotten_post_hashes, rows)


@dataclass(frozen=True)
class ErasedPosts:
    """The forgotten posts of one author, which an import must omit."""

    author: str
    hashes: frozenset[str]

    def contains_source(self, source_id: str) -> bool:
        """Return whether the post with this id was forgotten."""
        return bool(self.hashes) and hash_parts("source", self.author, source_id) in self.hashes

    def contains_text(self, content_hash: str) -> bool:
        """Return whether a post with exactly this text was forgotten."""
        return bool(self.hashes) and hash_parts("text", self.author, content_hash) in self.hashes


def read_forgotten_posts(state: State, author: str) -> ErasedPosts:
    """Return the forgotten posts that an import of this author omits."""
    open_journal(state)
    with state.read_transaction() as connection:
        hashes = connection.execute(sa.select(forgotten_post_hashes.c.hash)).scalars()
        return ErasedPosts(author, frozenset(hashes))


def find_forgotten_time(state: State, author: str, name: str) -> float | None:
    """Return the Unix time at which a post was forgotten, or None if it was not.

    The name may be one of the post's ids or the name given in the request.
    """
    open_journal(state)
    subject = ErasureSubject("post", author, name)
    by_id = sa.select(forgotten_post_hashes.c.forgotten_at).where(
        forgotten_post_hashes.c.hash == hash_parts("source", author, name)
    )
    by_subject = sa.select(requests.c.done_at).where(requests.c.subject_hash == subject.digest)
    with state.read_transaction() as connection:
        times = [*connection.execute(by_id).scalars(), *connection.execute(by_subject).scalars()]
    return max((float(time) for time in times if time is not None), default=None)
