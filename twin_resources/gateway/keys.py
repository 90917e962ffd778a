"""Who may ask whom: the keys of the gateway.

Belongs here: the roles, the table of keys in the state store, `Keyring` (looks a key up) and the
command that adds, lists and revokes keys.
Does not belong here: what a request may contain (`request_body.py`), how many requests a key may
send.

A key is shown once, when it is made; the store keeps its SHA-256. 32 random bytes need no slow
hash. `Keyring` is asked for every request, so what the store said is believed for a second: a
revoked key stops within that time.
"""
# pyright: strict

from __future__ import annotations

import argparse
import hashlib
import hmac
import secrets as random_source
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, cast

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from twin_resources.errors import TwinError
from twin_resources.gateway.refusals import Refused
from twin_resources.settings import Secrets, Settings, load_secrets, load_settings
from twin_resources.state.state import State

Role = Literal["admin", "author", "reader", "site"]
ROLES: tuple[Role, ...] = ("admin", "author", "reader", "site")
ALL_AUTHORS = "*"
_BELIEVED_SECONDS = 1.0
_MOST_REMEMBERED = 10_000

_metadata = sa.MetaData()
gateway_keys = sa.Table(
    "gateway_keys",
    _metadata,
    sa.Column("key_hash", sa.String(64), primary_key=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("authors", sa.JSON, nullable=False),
    sa.Column("made_at", sa.Text, nullable=False),
    sa.Column("revoked_at", sa.Text),
)


@dataclass(frozen=True)
class Key:
    """What a key may do.

    Attributes:
        reader: 16 hexadecimal digits made from the key; what traces and scores name a reader by.
        role: `admin` and `reader` ask; the edits of an `author` may become training data; a `site`
            has readers of its own behind it and names them (`user`).
        authors: slugs it may ask; `*` for all.
        label: a name for people.
    """

    reader: str
    role: Role
    authors: frozenset[str]
    label: str

    def may_ask(self, author: str) -> bool:
        """Whether this key reaches that author's twin."""
        return ALL_AUTHORS in self.authors or author in self.authors

    def behind(self, named: str) -> str:
        """The reader whom a site names: hashed with the key, so that two sites' `user-1` are two
        and nobody learns a site's names from a trace."""
        told = f"{self.reader}:{named}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(told).hexdigest()[:16]

    def for_reader(self, named: str) -> Key:
        """This key for the reader that a request names; itself where it names none or may not."""
        if not named or self.role != "site":
            return self
        return replace(self, reader=self.behind(named))


def open_keys(settings: Settings) -> State:
    """The state store of this home, with the table of keys in it."""
    state = State.open(settings.state_address)
    with state.transaction() as connection:
        _metadata.create_all(connection)
    return state


def add_key(state: State, *, role: Role, authors: Sequence[str], label: str) -> str:
    """Make a key and return it; it cannot be shown again.

    Args:
        role: see `Key`.
        authors: slugs, or `*`.
        label: a name for people; unique among keys that are not revoked.

    Raises:
        TwinError: an unknown role, no author, or a label in use.
    """
    if role not in ROLES or not authors or not label.strip():
        raise TwinError(
            "make a gateway key",
            found=f"role {role!r}, authors {list(authors)}, label {label!r}",
            next_step=f"name a role of {', '.join(ROLES)}, at least one author (or *) and a label",
        )
    made = "sk-twin-" + random_source.token_urlsafe(32)
    with state.transaction() as connection:
        taken = connection.execute(
            sa.select(gateway_keys.c.label).where(
                gateway_keys.c.label == label, gateway_keys.c.revoked_at.is_(None)
            )
        ).first()
        if taken:
            raise TwinError(
                "make a gateway key",
                found=f"a key with the label {label!r}",
                next_step="choose another label, or revoke that key first",
            )
        connection.execute(
            sa.insert(gateway_keys).values(
                key_hash=_hash(made),
                label=label,
                role=role,
                authors=sorted(set(authors)),
                made_at=datetime.now(UTC).isoformat(),
            )
        )
    return made


def revoke_key(state: State, label: str) -> None:
    """End a key; requests with it are refused within a second.

    Raises:
        TwinError: no key in use has that label.
    """
    with state.transaction() as connection:
        ended = connection.execute(
            sa.update(gateway_keys)
            .where(gateway_keys.c.label == label, gateway_keys.c.revoked_at.is_(None))
            .values(revoked_at=datetime.now(UTC).isoformat())
        )
        if ended.rowcount == 0:
            raise TwinError(
                f"revoke the key {label!r}",
                found="no key in use with that label",
                next_step="list them: python -m twin_resources.gateway.keys list",
            )


def list_keys(state: State) -> list[dict[str, object]]:
    """Every key without its hash: label, role, authors, made_at, revoked_at; oldest first."""
    shown = [column for column in gateway_keys.c if column.name != "key_hash"]
    with state.reading() as connection:
        rows = connection.execute(sa.select(*shown).order_by(gateway_keys.c.made_at))
        return [dict(row) for row in rows.mappings()]


@dataclass
class Keyring:
    """Looks keys up: the two of the home first, then the state store.

    Attributes:
        secrets: the admin key and the gateway key of this home.
        state: the store, or a function that opens it: the two keys of the home work without it.
    """

    secrets: Secrets
    state: Callable[[], State]
    clock: Callable[[], float] = time.monotonic
    _opened: State | None = None
    _remembered: dict[str, tuple[float, Key | None]] = field(
        default_factory=dict[str, tuple[float, Key | None]]
    )

    def find(self, authorization: str) -> Key:
        """The key of an `Authorization` header.

        Raises:
            Refused: 401 no key or a wrong one; 503 the store that knows cannot be read.
        """
        scheme, _, sent = authorization.partition(" ")
        sent = sent.strip()
        if scheme.lower() != "bearer" or not sent:
            raise Refused(
                401,
                "missing_key",
                tried="authenticate the request",
                found="no key" if not authorization else "no bearer key",
                next_step="send the header `Authorization: Bearer <key>`; the gateway key of this "
                "home is in its endpoints.json",
            )
        of_the_home: tuple[tuple[str, Role, str], ...] = (
            (self.secrets.gateway_master_key, "admin", "admin key of this home"),
            (self.secrets.gateway_key, "reader", "gateway key of this home"),
        )
        for known, role, label in of_the_home:
            if hmac.compare_digest(sent.encode(), known.encode()):
                return Key(reader_of(sent), role, frozenset({ALL_AUTHORS}), label)
        found = self._look_up(_hash(sent), sent)
        if found is None:
            raise Refused(
                401,
                "wrong_key",
                tried="authenticate the request",
                found="a key that this gateway does not know, or one that was revoked",
                next_step="use the gateway key of this home (endpoints.json), or ask for one",
            )
        return found

    def _look_up(self, key_hash: str, sent: str) -> Key | None:
        remembered = self._remembered.get(key_hash)
        if remembered and self.clock() - remembered[0] < _BELIEVED_SECONDS:
            return remembered[1]
        try:
            found = self._read(key_hash, sent)
        except (SQLAlchemyError, TwinError) as error:
            raise Refused(
                503,
                "keys_unreadable",
                tried="look the key up",
                found=f"the state store does not answer ({type(error).__name__})",
                next_step="try again; its owner checks TWIN_STATE_URL and the gateway's log",
            ) from error
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()  # a flood of wrong keys must not fill the memory
        self._remembered[key_hash] = (self.clock(), found)
        return found

    def _read(self, key_hash: str, sent: str) -> Key | None:
        if self._opened is None:
            self._opened = self.state()
        with self._opened.reading() as connection:
            row = connection.execute(
                sa.select(gateway_keys).where(
                    gateway_keys.c.key_hash == key_hash, gateway_keys.c.revoked_at.is_(None)
                )
            ).first()
        if row is None:
            return None
        return Key(reader_of(sent), cast(Role, row.role), frozenset(row.authors), row.label)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def reader_of(key: str) -> str:
    """The name by which traces and scores know the reader of a key."""
    # Another hash than the stored one: a trace must not help to find the row of a key.
    return hashlib.sha256(b"reader:" + key.encode()).hexdigest()[:16]


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m twin_resources.gateway.keys add|list|revoke`: prints, returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m twin_resources.gateway.keys")
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="make a key and print it, once")
    adding.add_argument("label")
    adding.add_argument("--role", choices=ROLES, default="reader")
    adding.add_argument("--author", action="append", required=True, help="a slug, or *; repeatable")
    commands.add_parser("list", help="every key, without the key itself")
    commands.add_parser("revoke", help="end a key").add_argument("label")
    chosen = parser.parse_args(arguments)
    settings = load_settings()
    try:
        state = open_keys(settings)
        if chosen.command == "add":
            made = add_key(state, role=chosen.role, authors=chosen.author, label=chosen.label)
            sys.stdout.write(made + "\n")
        elif chosen.command == "revoke":
            revoke_key(state, chosen.label)
        else:
            for row in list_keys(state):
                sys.stdout.write("  ".join(f"{name}={value}" for name, value in row.items()) + "\n")
    except TwinError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def keyring_of(settings: Settings) -> Keyring:
    """The keyring of a home; its state store is opened at the first key that needs it."""
    return Keyring(secrets=load_secrets(settings), state=lambda: open_keys(settings))


if __name__ == "__main__":
    raise SystemExit(main())
