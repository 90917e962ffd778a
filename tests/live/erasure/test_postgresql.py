"""Test that no row and no page in PostgreSQL (state, Dagster's records) contains an erased word.

PostgreSQL's write-ahead log keeps the text until the log is reused, as the certificate states.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from tests.graph.erasure.conftest import POST_ID, UsedHome, populate_home, write_posts
from tests.graph.erasure.planted_words import POST_WORD, QUESTION_WORD, find_files_with
from tests.graph.erasure.spans import AUTHOR
from tests.postgresql_server import postgresql, postgresql_url
from tests.prepared_embedder import link_weights, prepare_weights
from twin_resources.erasure import journal
from twin_resources.erasure.certificate import read_certificate
from twin_resources.erasure.erasing import run_erasure
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.settings import Settings, load_settings

__all__ = ["postgresql", "postgresql_url"]  # fixtures
pytestmark = pytest.mark.live
WAL = "PostgreSQL"


@pytest.fixture
def used_home(
    home: Settings, postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> UsedHome:
    monkeypatch.setenv("DAGSTER_HOME", str(home.home / "dagster"))
    monkeypatch.setenv("TWIN_STATE_URL", postgresql_url)
    monkeypatch.setenv("TWIN_TRACES_PORT", "9")  # unused: the store runs in this process
    settings = load_settings()
    link_weights(prepare_weights(), settings)
    write_posts(tmp_path / "sources")
    # Dagster cannot write events with SQLAlchemy's default driver.
    url = sa.make_url(postgresql_url).set(drivername="postgresql+psycopg2")
    storage = {"postgres": {"postgres_url": url.render_as_string(hide_password=False)}}
    identifiers = populate_home(settings, tmp_path / "sources", storage=storage)
    return UsedHome(settings, identifiers["key"], identifiers["checkpoint"])


def find_tables_with(url: str, text: str, *, whole_word: bool = False) -> set[str]:
    """Return the tables that contain the text, also in compressed values.

    Args:
        whole_word: whether to ignore parts of words; random hashes may contain the slug `ada`.
    """
    pattern = re.compile(
        rf"(?<![0-9a-z]){re.escape(text)}(?![0-9a-z])" if whole_word else re.escape(text)
    )
    engine = sa.create_engine(url)
    metadata = sa.MetaData()
    with engine.connect() as connection:
        metadata.reflect(connection)
        names = {
            table.name
            for table in metadata.sorted_tables
            for row in connection.execute(sa.select(table))
            if any(pattern.search(decoded) for value in row for decoded in decode_value(value))
        }
    engine.dispose()
    return names


def decompress_events(url: str) -> None:
    """Store long events uncompressed, so that a search of the pages can find a word in them."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE event_logs ALTER event SET STORAGE EXTERNAL"))
        connection.execute(sa.text("UPDATE event_logs SET event = event || ''"))
    engine.dispose()


def collect_statistics(url: str) -> None:
    """Collect statistics on every column, as the server itself does after fifty changed rows."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("ANALYZE"))
    engine.dispose()


def find_statistics_with(url: str, word: str) -> list[str]:
    """Return the columns whose planner statistics contain the word."""
    engine = sa.create_engine(url)
    query = sa.text(
        "SELECT tablename || '.' || attname FROM pg_stats WHERE "
        "coalesce(most_common_vals::text, '') || coalesce(histogram_bounds::text, '') ILIKE :like"
    )
    with engine.connect() as connection:
        rows = connection.execute(query, {"like": f"%{word}%"}).scalars().all()
    engine.dispose()
    return [str(name) for name in rows]


def decode_value(value: object) -> Iterator[str]:
    """Yield a value as lower-case text; for bytes, also the decompressed text."""
    if not isinstance(value, bytes | memoryview):
        yield str(value).lower()
        return
    body = bytes(value)
    yield body.decode("latin-1").lower()
    for unpack in (zlib.decompress, gzip.decompress):
        try:
            yield unpack(body).decode("latin-1").lower()
        except (zlib.error, OSError):
            continue  # not compressed in this format


def find_pages_with(url: str, word: str) -> list[str]:
    """Write all pages to disk, and return the files of this database that contain the word."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("CHECKPOINT"))
        data = Path(str(connection.execute(sa.text("SHOW data_directory")).scalar_one()))
        database = sa.text("SELECT oid FROM pg_database WHERE datname = current_database()")
        folder = data / "base" / str(connection.execute(database).scalar_one())
    engine.dispose()
    return [path.name for path in folder.iterdir() if word.encode() in path.read_bytes().lower()]


def forget(used_home: UsedHome, subject: ErasureSubject) -> Path:
    """Erase the subject; return the path of the certificate."""
    installation = used_home.installation
    number = journal.open_request(installation.state, subject, asked_by="test")
    with used_home.dagster() as dagster:
        from twin_resources.erasure.dagster_records import DagsterRecords

        result = run_erasure(installation, number, dagster=DagsterRecords(installation, dagster))
    installation.state.close()
    return result


def test_erased_subjects_are_in_no_row_no_page_and_no_file(
    used_home: UsedHome, postgresql_url: str
) -> None:
    home = used_home.settings.home
    assert not (home / "dagster" / "history").exists(), "Dagster's records are not in PostgreSQL"
    assert "event_logs" in find_tables_with(postgresql_url, POST_WORD)
    decompress_events(postgresql_url)
    collect_statistics(postgresql_url)
    assert find_pages_with(postgresql_url, POST_WORD)
    assert find_statistics_with(postgresql_url, QUESTION_WORD)
    assert any("compute_logs" in name for name in find_files_with(home, POST_WORD))

    result = forget(used_home, ErasureSubject("post", AUTHOR, POST_ID))
    assert find_tables_with(postgresql_url, POST_WORD) == set()
    assert find_tables_with(postgresql_url, "forgotten-walk") == set()
    assert find_pages_with(postgresql_url, POST_WORD) == []
    assert find_files_with(home, POST_WORD) == []
    document = read_certificate(result)
    assert document["tainted"] == [used_home.checkpoint]
    assert any(WAL in step["what"] for step in document["elsewhere"])

    assert "ledger_traces" in find_tables_with(postgresql_url, QUESTION_WORD)
    assert find_pages_with(postgresql_url, QUESTION_WORD)
    forget(used_home, ErasureSubject("reader", "", used_home.reader))
    assert find_tables_with(postgresql_url, QUESTION_WORD) == set()
    assert find_tables_with(postgresql_url, used_home.reader) == set()
    assert find_statistics_with(postgresql_url, QUESTION_WORD) == []
    assert find_pages_with(postgresql_url, QUESTION_WORD) == []
    assert find_files_with(home, QUESTION_WORD) == []

    with used_home.dagster() as dagster:
        dagster.report_runless_asset_event(dg.AssetMaterialization("raw_posts", partition=AUTHOR))
    assert {"event_logs", "dynamic_partitions"} <= find_tables_with(
        postgresql_url, AUTHOR, whole_word=True
    )
    result = forget(used_home, ErasureSubject("author", AUTHOR, AUTHOR))
    assert read_certificate(result)["kind"] == "author"
    assert find_tables_with(postgresql_url, AUTHOR, whole_word=True) == set()
    assert find_tables_with(postgresql_url, "ada wright") == set()
