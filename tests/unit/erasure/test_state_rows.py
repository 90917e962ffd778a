"""Test the erasure of state rows, gateway keys and spending, and the erasure journal (SQLite)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from tests.erasure_targets import author_target, post_target, reader_target
from tests.model_versions import register_version
from tests.stored_rows import store_rows
from twin_resources.access import keys
from twin_resources.access.account import SpendingAccount, anonymize, paid_requests
from twin_resources.access.spending_limits import SpendingLimits
from twin_resources.erasure import journal
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasing import _record_forgotten_post as record_post
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.state_store import StateStore
from twin_resources.errors import TwinError
from twin_resources.registry.policy import read_policy
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

READER, OTHER_READER = "0123456789abcdef", "fedcba9876543210"
TEXT = "In March the old clock of my uncle stopped for good."
ERASED_READER = reader_target(READER)
ERASED_POST = post_target("ada", "2019/a.md", TEXT)
ERASED_AUTHOR = author_target("ada", "Ada Wright")
NOTES = sa.Table(
    "notes_of_a_test",
    sa.MetaData(),
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("author", sa.String(40)),
    sa.Column("reader", sa.String(40)),
    sa.Column("said", sa.Text),
    sa.Column("more", sa.JSON),
)


@pytest.fixture
def installation(home: Settings) -> Iterator[Installation]:
    installation = Installation.for_settings(home)
    NOTES.create(installation.state.engine)
    yield installation
    installation.state.close()


def add_note(state: State, name: str, **values: object) -> None:
    row = {"author": "ada", "reader": "", "said": "", "more": {}} | values
    with state.transaction() as connection:
        connection.execute(sa.insert(NOTES).values(name=name, **row))


def read_notes(state: State) -> dict[str, tuple[object, ...]]:
    with state.read_transaction() as connection:
        rows = connection.execute(sa.select(NOTES)).all()
    return {row.name: (row.author, row.reader, row.said, row.more) for row in rows}


def test_erasing_a_post_clears_fields_with_its_text_and_deletes_rows_keyed_by_it(
    installation: Installation,
) -> None:
    state, store = installation.state, StateStore(installation)
    add_note(state, "kept", said="something else", more={"a": [1]})
    add_note(state, "said", said=f"She said: {TEXT}", reader=OTHER_READER)
    add_note(state, "more", said="kept", more={"deep": [{"text": TEXT}]})
    add_note(state, TEXT[:40] + "s", said="kept")
    add_note(state, "again", said=TEXT)
    assert store.find_remaining(ERASED_POST) == ["notes_of_a_test"] * 3, (
        "three of the four matching rows must be reported, which is the maximum per table"
    )

    assert store.erase(ERASED_POST) == 4

    remaining = read_notes(state)
    assert set(remaining) == {"kept", "said", "more", "again"}
    assert remaining["kept"] == ("ada", "", "something else", {"a": [1]})
    assert remaining["said"] == ("ada", OTHER_READER, "", {})
    assert remaining["more"] == ("ada", "", "kept", {})
    assert store.find_remaining(ERASED_POST) == []
    assert store.find_remaining_in_file(ERASED_POST) == []
    assert store.erase(ERASED_POST) == 0


def test_erasing_a_reader_deletes_their_rows_and_key(installation: Installation) -> None:
    state, store = installation.state, StateStore(installation)
    key_store = keys.open_key_store(installation.settings)
    keys.add_key(key_store, role="reader", authors=["ada"], label="one")
    keys.add_key(key_store, role="reader", authors=["ada"], label="two")
    key_store.close()
    with state.read_transaction() as connection:
        hashes = dict(
            connection.execute(sa.select(keys.gateway_keys.c.label, keys.gateway_keys.c.key_hash))
            .tuples()
            .all()
        )
    add_note(state, "mine", reader=READER, said="a")
    add_note(state, "others", reader=OTHER_READER, said="b")

    assert store.erase(reader_target(READER, key_hash=hashes["one"])) == 2

    assert set(read_notes(state)) == {"others"}
    with state.read_transaction() as connection:
        labels = connection.execute(sa.select(keys.gateway_keys.c.label)).scalars().all()
    assert labels == ["two"]


def test_erasing_an_author_keeps_keys_to_other_authors(installation: Installation) -> None:
    key_store = keys.open_key_store(installation.settings)
    for label, authors in (("both", ["ada", "bea"]), ("ada", ["ada"]), ("bea", ["bea"])):
        keys.add_key(key_store, role="reader", authors=authors, label=label)
    key_store.close()
    state = installation.state
    for author in ("ada", "bea"):
        register_version(installation.registry, author, f"of {author}")
        installation.registry.move(author, 1, "refused", actor="a", reason="r")
        installation.registry.move(author, 1, "stable", actor="a", reason="r", force=True)
    policy = installation.settings.policy_path
    assert read_policy(policy).authors.keys() == {"ada", "bea"}
    add_note(state, "mine")
    add_note(state, "other", author="bea", said="Ada Wright wrote to me")

    assert StateStore(installation).erase(ERASED_AUTHOR) == 9, (
        "the version, two moves and their notices must be counted"
    )

    assert read_policy(policy).authors.keys() == {"bea"}

    with state.read_transaction() as connection:
        rows = connection.execute(
            sa.select(keys.gateway_keys.c.label, keys.gateway_keys.c.authors)
        ).all()
    assert {row.label: row.authors for row in rows} == {"both": ["bea"], "bea": ["bea"]}
    assert read_notes(state) == {"other": ("bea", "", "", {})}


def test_spending_keeps_its_amount_but_loses_the_name(installation: Installation) -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
    account = SpendingAccount(installation.state, SpendingLimits(), clock=lambda: now)
    for author, usd in (("ada", 0.25), ("bea", 0.5)):
        reservation = account.reserve(purpose="answer", author=author, key="k" * 16, max_usd=usd)
        account.settle(reservation, usd)
    key_hash = "ab" * 32
    reservation = account.reserve(
        purpose="answer", author="", key=keys.key_id_from_hash(key_hash), max_usd=1
    )
    account.settle(reservation, 1)
    StateStore(installation).erase(ERASED_AUTHOR)
    assert StateStore(installation).erase(reader_target(READER, key_hash=key_hash)) == 1
    with installation.state.read_transaction() as connection:
        columns = paid_requests.c
        rows = connection.execute(sa.select(columns.author, columns.key, columns.nano))
        totals = {(row.author, row.key): row.nano for row in rows}
    key, nano_per_usd = "k" * 16, 1_000_000_000
    assert totals == {
        ("", key): nano_per_usd // 4,
        ("bea", key): nano_per_usd // 2,
        ("", ""): nano_per_usd,
    }


def test_the_journal_keeps_a_request_and_clears_its_subject_once_closed(
    installation: Installation,
) -> None:
    state = installation.state
    subject = ErasureSubject("post", "ada", "2019/a.md")
    first = journal.open_request(state, subject, asked_by="ann", key_hash="h")
    second = journal.open_request(state, ErasureSubject("reader", "", READER), asked_by="ann")
    assert journal.open_request(state, subject, asked_by="somebody else") == first
    request = journal.find_request(state, first)
    assert (request.subject, request.kind, request.key_hash) == (subject, "post", "h")
    assert (request.asked_by, request.plan, request.done_at) == ("ann", "", None)
    assert [item.number for item in journal.list_unfinished_requests(state)] == [first, second]

    journal.write_plan(state, first, "{}")
    for erased in (3, 2):
        journal.record_step(state, first, "tables", erased)
    journal.record_step(state, first, "files", 1)
    journal.record_step(state, second, "tables", 7)
    assert journal.read_completed_steps(state, first) == {"tables": 5, "files": 1}
    assert journal.find_request(state, first).plan == "{}"
    assert journal.find_request(state, second).plan == ""

    journal.close_request(state, first, "one.json")
    request = journal.find_request(state, first)
    assert (request.subject, request.plan, request.certificate) == (None, "", "one.json")
    assert request.done_at is not None
    assert request.done_at >= request.asked_at
    assert [item.number for item in journal.list_unfinished_requests(state)] == [second]
    assert journal.open_request(state, subject, asked_by="ann") != first, "it was opened again"
    with pytest.raises(TwinError, match="find the erasure request 99"):
        journal.find_request(state, 99)


def test_a_forgotten_post_is_recognized_by_name_and_by_text(installation: Installation) -> None:
    state = installation.state
    assert not journal.read_forgotten_posts(state, "ada").contains_source("2019/a.md")
    journal.record_forgotten_posts(state, "ada", ["2019/a.md"], ["hash-of-text"])
    journal.record_forgotten_posts(state, "ada", ["2019/a.md", "2019/b.md"], [])
    adas_posts, beas_posts = (journal.read_forgotten_posts(state, slug) for slug in ("ada", "bea"))
    names = ("2019/a.md", "2019/b.md", "2019/c.md")
    assert [adas_posts.contains_source(name) for name in names] == [True, True, False]
    assert adas_posts.contains_text("hash-of-text")
    assert not adas_posts.contains_text("2019/a.md")
    assert not beas_posts.contains_source("2019/a.md")
    assert not beas_posts.contains_text("hash-of-text")


def test_the_forgotten_time_is_that_of_the_last_request(installation: Installation) -> None:
    state, subject = installation.state, ErasureSubject("post", "ada", "2019/a.md")
    assert journal.find_forgotten_time(state, "ada", "2019/a.md") is None
    journal.record_forgotten_posts(state, "ada", ["2019/a.md"], [])
    number = journal.open_request(state, subject, asked_by="ann")
    first = journal.find_forgotten_time(state, "ada", "2019/a.md")
    journal.close_request(state, number, "certificate")
    last = journal.find_forgotten_time(state, "ada", "2019/a.md")
    assert first is not None
    assert last is not None
    assert last > first


def test_anonymizing_an_unopened_account_changes_nothing(installation: Installation) -> None:
    with installation.state.transaction() as connection:
        assert anonymize(connection, "author", "ada") == 0


def test_a_text_shared_with_another_post_may_be_imported_again(installation: Installation) -> None:
    texts = {"2019/a.md": "own", "2019/a-again.md": "shared", "2019/b.md": "shared", "c.md": "c"}
    rows = [{"source_id": name, "content_hash": text} for name, text in texts.items()]
    store_rows(installation.tables, "raw_posts", "ada", rows, key="source_id")
    ids = frozenset({"2019/a.md", "2019/a-again.md"})
    post = ErasureTarget(ErasureSubject("post", "ada", "2019/a.md"), ids=ids)
    for target, is_known in ((ERASED_READER, False), (post, True)):
        record_post(installation, target)
        posts = journal.read_forgotten_posts(installation.state, "ada")
        assert [posts.contains_source(name) for name in texts] == [is_known, is_known, False, False]
        is_contained = [posts.contains_text(text) for text in ("own", "shared", "c")]
        assert is_contained == [is_known, False, False]
