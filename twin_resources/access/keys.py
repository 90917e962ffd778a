"""Manage the keys of the gateway and the authors that each key may ask.

Scope: the roles, the tables of keys in the state store, adding, listing and revoking keys, and
`Keyring`, which looks up keys.
Out of scope: the content of a request (`request_body.py`), counting requests
(`key_limits.py`) and money (`account.py`), the command (`commands/keys_command.py`).

A key is shown once, when it is created; the store keeps its SHA-256. A key of 32 random bytes does
not need a slow hash. Every request needs a lookup, so `Keyring` caches a result for one second. A
revoked key stops working within that second.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import hmac
import math
import secrets as random_source
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, cast
from urllib.parse import urlsplit

import sqlalchemy as sa

from twin_resources.access.refusals import RefusedError, refuse_if_store_fails
from twin_resources.errors import TwinError
from twin_resources.settings import Secrets, Settings, load_secrets
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State

Role = Literal["admin", "alarm", "author", "monitor", "reader", "site"]
ROLES: tuple[Role, ...] = ("admin", "alarm", "author", "monitor", "reader", "site")
ALL_AUTHORS = "*"
ALIASES = ("stable", "canary", "base", "voice", "paid")
# A key may spend money only if it was created with the alias `paid`.
FREE_ALIASES = frozenset({"stable", "canary", "base", "voice"})
_CACHE_SECONDS = 1.0
_MAX_CACHED_KEYS = 10_000

key_tables = sa.MetaData()
"""Tables about keys and their requests, which `open_key_store` creates."""
gateway_keys = sa.Table(
    "gateway_keys",
    key_tables,
    sa.Column("key_hash", sa.String(64), primary_key=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("authors", sa.JSON, nullable=False),
    sa.Column("made_at", sa.Text, nullable=False),
    sa.Column("revoked_at", sa.Text),
    sa.Column("aliases", sa.JSON, nullable=False),
    sa.Column("per_minute", sa.Integer),
    sa.Column("at_once", sa.Integer),
    sa.Column("usd_per_day", sa.Double),
    sa.Column("origins", sa.JSON, nullable=False),
)


@dataclass(frozen=True)
class KeyLimits:
    """The limits of a key; None means no limit.

    Attributes:
        aliases: allowed aliases after the `@` of a model name.
        per_minute: maximum number of requests within 60 seconds.
        at_once: maximum number of concurrent requests.
        usd_per_day: maximum cost of paid answers, US dollars per UTC day.
        origins: the sites whose pages contain the key, as browsers send them in `Origin`; the key
            answers no other page and no program. Empty for a key that stands in no page.
    """

    aliases: frozenset[str] = FREE_ALIASES
    per_minute: int | None = None
    at_once: int | None = None
    usd_per_day: float | None = None
    origins: frozenset[str] = frozenset()


NO_LIMITS = KeyLimits(aliases=frozenset(ALIASES))  # for the two keys of a home


@dataclass(frozen=True)
class Key:
    """The identity and permissions of a key.

    Attributes:
        reader: 16 hexadecimal digits derived from the key, which identify a reader in traces and
            scores.
        role: `admin` and `reader` may only ask; edits by an `author` may become training data, and
            its key opens `/questions`; a `site` asks on behalf of its own readers and names them
            (`user`), unless it is public; a `monitor` reads only `/metrics`; an `alarm` only
            requests retrainings (`/twin/alarm`).
        authors: slugs that the key may ask; `*` for all.
        label: a human-readable name.
        id: 16 hexadecimal digits that identify the key in `twin keys` and in the account. They are
            the same for all readers of a site.
        limits: see `KeyLimits`.
    """

    reader: str
    role: Role
    authors: frozenset[str]
    label: str
    id: str = ""
    limits: KeyLimits = KeyLimits()

    def may_ask(self, author: str) -> bool:
        """Return whether this key may ask the author's twin."""
        return ALL_AUTHORS in self.authors or author in self.authors

    def may_use_alias(self, alias: str) -> bool:
        """Return whether this key may name the alias; an empty alias is always allowed."""
        return not alias or alias in self.limits.aliases

    @property
    def is_public(self) -> bool:
        """Whether the key stands in a page, where anybody can read it.

        Such a key is one reader: names that anybody may invent would be votes without number.
        """
        return bool(self.limits.origins)

    def check_origin(self, origin: str) -> None:
        """Check the header `Origin` of a request; a program sends none.

        Raises:
            RefusedError: 403 if the key is public and not for pages of this origin.
        """
        if self.is_public and origin not in self.limits.origins:
            sites = " and ".join(sorted(self.limits.origins))
            raise RefusedError(
                403,
                "origin_not_allowed",
                f"{origin[:200] or 'No page'} asks with a key for pages of {sites}; ask the twin's "
                "owner for a key for this site (`twin widget`).",
            )

    def hash_reader_name(self, reader_name: str) -> str:
        """Return the id of a reader that a site names.

        The name is hashed with the key. The ids of `user-1` at two sites therefore differ, and a
        trace does not reveal a site's names.
        """
        payload = f"{self.reader}:{reader_name}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(payload).hexdigest()[:16]

    def for_reader(self, reader_name: str) -> Key:
        """Return a site's key with the reader that a request names; other keys are unchanged."""
        if not reader_name or self.role != "site" or self.is_public:
            return self
        return replace(self, reader=self.hash_reader_name(reader_name))


def open_key_store(settings: Settings) -> State:
    """Open the state store of this home, with the tables of `key_tables`."""
    state = open_home_state(settings)
    with state.transaction() as connection:
        key_tables.create_all(connection)
    return state


def add_key(
    state: State,
    *,
    role: Role,
    authors: Sequence[str],
    label: str,
    limits: KeyLimits | None = None,
) -> str:
    """Create a key and return it; it cannot be shown again.

    Args:
        role: see `Key`.
        authors: slugs, or `*`.
        label: a human-readable name, unique among keys that are not revoked.
        limits: limits of the key, or None for the free aliases without other limits.

    Raises:
        TwinError: the role or an alias is unknown, there is no author, a limit is invalid, or the
            label is in use.
    """
    limits = limits or KeyLimits()
    if role not in ROLES or not authors or not label.strip():
        raise TwinError(
            "create a gateway key",
            found=f"role {role!r}, authors {list(authors)}, label {label!r}",
            next_step=f"set one of the roles {', '.join(ROLES)}, at least one author "
            "(or * for all) and a label",
        )
    _check_limits(limits)
    key = "sk-twin-" + random_source.token_urlsafe(32)
    with state.transaction() as connection:
        existing_key = connection.execute(
            sa.select(gateway_keys.c.label).where(
                gateway_keys.c.label == label, gateway_keys.c.revoked_at.is_(None)
            )
        ).first()
        if existing_key:
            raise TwinError(
                "create a gateway key",
                found=f"a key with the label {label!r}",
                next_step="choose another label, or revoke that key first",
            )
        connection.execute(
            sa.insert(gateway_keys).values(
                key_hash=_hash_key(key),
                label=label,
                role=role,
                authors=sorted(set(authors)),
                made_at=datetime.now(UTC).isoformat(),
                aliases=sorted(limits.aliases),
                per_minute=limits.per_minute,
                at_once=limits.at_once,
                usd_per_day=limits.usd_per_day,
                origins=sorted(limits.origins),
            )
        )
    return key


def _check_limits(limits: KeyLimits) -> None:
    found, next_step = "", "set 1 or more, or omit it for no limit"
    unknown_aliases = sorted(limits.aliases - set(ALIASES))
    wrong_origins = sorted(origin for origin in limits.origins if not _is_origin(origin))
    usd = limits.usd_per_day
    if unknown_aliases:
        found = f"the alias @{unknown_aliases[0]}"
        next_step = f"name one of {', '.join(f'@{alias}' for alias in ALIASES)}"
    elif limits.per_minute is not None and limits.per_minute < 1:
        found = f"a limit of {limits.per_minute} requests a minute"
    elif limits.at_once is not None and limits.at_once < 1:
        found = f"a limit of {limits.at_once} requests at once"
    elif usd is not None and not (math.isfinite(usd) and usd >= 0):
        found = f"a limit of {usd} US dollars a day"
        next_step = "set 0 or more, or omit it for no limit"
    elif wrong_origins:
        found = f"{wrong_origins[0]!r}, which is not an origin"
        next_step = (
            "name a scheme, a host and a port in lower case, without a path and without *, "
            "such as https://example.org"
        )
    if found:
        raise TwinError("create a gateway key", found=found, next_step=next_step)


def _is_origin(origin: str) -> bool:
    """Return whether a browser may send this origin. `*` would let any page use the key."""
    parts = urlsplit(origin)
    is_bare = f"{parts.scheme}://{parts.netloc}" == origin == origin.lower()
    is_web = parts.scheme in {"http", "https"} and parts.netloc and "*" not in origin
    return bool(is_bare and is_web) and "@" not in origin


def revoke_key(state: State, label: str) -> None:
    """Revoke a key; requests with it are refused within a second.

    Raises:
        TwinError: if no active key has that label.
    """
    with state.transaction() as connection:
        result = connection.execute(
            sa.update(gateway_keys)
            .where(gateway_keys.c.label == label, gateway_keys.c.revoked_at.is_(None))
            .values(revoked_at=datetime.now(UTC).isoformat())
        )
        if result.rowcount == 0:
            raise TwinError(
                f"revoke the key {label!r}",
                found="no active key has that label",
                next_step="list the keys with `twin keys list`",
            )


def list_keys(state: State) -> list[dict[str, object]]:
    """List every key without its hash, oldest first.

    Returns:
        Rows of `id`, `label`, `role`, `authors`, `aliases`, `per_minute`, `at_once`,
        `usd_per_day`, `origins`, `made_at` and `revoked_at`.
    """
    with state.read_transaction() as connection:
        rows = connection.execute(sa.select(gateway_keys).order_by(gateway_keys.c.made_at))
        fields = [dict(row) for row in rows.mappings()]
    return [{"id": key_id_from_hash(row.pop("key_hash")), **row} for row in fields]


@dataclass
class Keyring:
    """The keys that the gateway accepts: the home's two keys and those of the state store.

    Attributes:
        secrets: the admin key and the gateway key of this home.
        open_state: function that opens the store; the home's two keys work without the store.
    """

    secrets: Secrets
    open_state: Callable[[], State]
    clock: Callable[[], float] = time.monotonic
    _cache: dict[str, tuple[float, Key | None]] = field(
        default_factory=dict[str, tuple[float, Key | None]]
    )

    def find(self, authorization: str) -> Key:
        """Return the key of an `Authorization` header.

        Raises:
            RefusedError: 401 for a missing or wrong key; 503 if the state store cannot be read.
        """
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise RefusedError(
                401,
                "missing_key",
                "Send the header `Authorization: Bearer <key>`; the gateway key of this home is in "
                "its endpoints.json.",
            )
        for home_key, role, label in _list_home_keys(self.secrets):
            if hmac.compare_digest(token.encode(), home_key.encode()):
                all_authors = frozenset({ALL_AUTHORS})
                return Key(
                    reader_id_for_key(token), role, all_authors, label, _key_id(token), NO_LIMITS
                )
        key = self._look_up(_hash_key(token), token)
        if key is None:
            raise RefusedError(
                401,
                "wrong_key",
                "The key is unknown to this gateway or was revoked; use the gateway key of this "
                "home (endpoints.json), or ask its operator for a key.",
            )
        return key

    def has_origin(self, origin: str) -> bool:
        """Return whether a key was made for pages of this origin.

        A revoked key counts, so that its page can read why it is refused.

        Raises:
            RefusedError: 503 if the state store cannot be read.
        """
        with _refuse_if_keys_unreadable(), self.state.read_transaction() as connection:
            lists = connection.execute(sa.select(gateway_keys.c.origins)).scalars().all()
        return any(origin in origins for origins in lists)

    def _look_up(self, key_hash: str, token: str) -> Key | None:
        cached_entry = self._cache.get(key_hash)
        if cached_entry and self.clock() - cached_entry[0] < _CACHE_SECONDS:
            return cached_entry[1]
        with _refuse_if_keys_unreadable():
            key = self._read_key(key_hash, token)
        if len(self._cache) >= _MAX_CACHED_KEYS:
            self._cache.clear()  # many wrong keys must not exhaust the memory
        self._cache[key_hash] = (self.clock(), key)
        return key

    @cached_property
    def state(self) -> State:
        """The state store with the keys."""
        return self.open_state()

    def _read_key(self, key_hash: str, token: str) -> Key | None:
        with self.state.read_transaction() as connection:
            row = connection.execute(
                sa.select(gateway_keys).where(
                    gateway_keys.c.key_hash == key_hash, gateway_keys.c.revoked_at.is_(None)
                )
            ).first()
        if row is None:
            return None
        return Key(
            reader_id_for_key(token),
            cast(Role, row.role),
            frozenset(row.authors),
            row.label,
            _key_id(token),
            KeyLimits(
                frozenset(row.aliases),
                row.per_minute,
                row.at_once,
                row.usd_per_day,
                frozenset(row.origins),
            ),
        )


def _refuse_if_keys_unreadable() -> AbstractContextManager[None]:
    return refuse_if_store_fails(
        "keys_unreadable",
        "try again; the gateway's operator should check TWIN_STATE_URL and the log.",
    )


_ID_DIGITS = 16


def _hash_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def key_id_from_hash(key_hash: str) -> str:
    """Return the `Key.id` of the key with this hash."""
    return key_hash[:_ID_DIGITS]


def _key_id(key: str) -> str:
    return key_id_from_hash(_hash_key(key))


def _list_home_keys(secrets: Secrets) -> tuple[tuple[str, Role, str], ...]:
    return (
        (secrets.gateway_master_key, "admin", "admin key of this home"),
        (secrets.gateway_key, "reader", "gateway key of this home"),
    )


def home_key_labels(secrets: Secrets) -> dict[str, str]:
    """Return the labels by id of a home's two keys, which are not in the store."""
    return {_key_id(key): label for key, _, label in _list_home_keys(secrets)}


def reader_id_for_key(key: str) -> str:
    """Return the id of a key's reader in traces and scores."""
    # The id differs from the stored hash, so that a trace does not identify the row of a key.
    return hashlib.sha256(b"reader:" + key.encode()).hexdigest()[:16]


def open_keyring(settings: Settings) -> Keyring:
    """Return the keyring of a home, which opens the state store at its first use."""
    return Keyring(secrets=load_secrets(settings), open_state=lambda: open_key_store(settings))
