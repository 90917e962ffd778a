"""Test that a failing feed keeps its posts while the other sources are read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console
from twin_cli.commands.preview_report import show_preview
from twin_cli.commands.progress_display import ProgressDisplay

from tests.graph.corpus.conftest import SLUG, Materialize, find_check, get_metadata
from tests.graph.corpus.test_exports import build_feed
from tests.http_server import Request, Response, http_server
from tests.previews import preview_author
from tests.unit.corpus.export_files import write_folder
from tests.unit.corpus.sample_exports import SENTENCE
from twin_resources.authors import read_author
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

PASSWORD = "sesame"
CHECK = "every_source_was_read"


@dataclass
class FeedServer:
    """Serves a feed of two posts at `/NUMBER.xml`, or the status set for the number."""

    address: str = ""
    status: dict[str, int] = field(default_factory=dict[str, int])

    def build_url(self, name: str) -> str:
        return f"{self.address.replace('//', f'//ada:{PASSWORD}@')}/{name}.xml"

    def answer(self, request: Request) -> Response:
        name = request.path.strip("/").removesuffix(".xml")
        return Response(build_feed(int(name), int(name) + 1), self.status.get(name, 200))


@pytest.fixture
def server() -> Iterator[FeedServer]:
    server = FeedServer()
    with http_server(server.answer) as server.address:
        yield server


def test_a_failing_feed_keeps_its_posts_and_blocks_no_source(
    import_sources: Materialize,
    server: FeedServer,
    tables: Tables,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = write_folder({"a.md": SENTENCE}, tmp_path / "notes")
    sources = (str(notes), server.build_url("1"))
    assert find_check(import_sources(*sources), CHECK).passed
    stored = tables.read("raw_posts", SLUG, where="source = 'feed'")
    assert stored.height == 2

    server.status["1"] = 503
    (notes / "b.md").write_text(f"Another. {SENTENCE}")
    result = import_sources(*sources)
    run_metadata = get_metadata(result, "raw_posts")
    assert run_metadata["posts_added"] == 1
    assert run_metadata["posts_deleted"] == 0
    assert run_metadata["computed"] == 1
    [line] = run_metadata["sources_not_read"]
    assert "/1.xml could not be read (HTTP 503)" in line
    assert PASSWORD not in line
    check = find_check(result, CHECK)
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert not check.blocking
    assert tables.read("raw_posts", SLUG, where="source = 'feed'").equals(stored)
    assert get_metadata(import_sources(*sources), "raw_posts")["computed"] == 0

    # A new version reads everything again, and takes posts of the failing feed from the table.
    monkeypatch.setattr("twin_assets.corpus.raw_posts_import.IMPORT_VERSION", "next")
    assert get_metadata(import_sources(*sources), "raw_posts")["computed"] == 4
    rows = tables.read("raw_posts", SLUG, where="source = 'feed' AND problem = ''")
    assert sorted(rows["text"]) == sorted(stored["text"])

    server.status["1"] = 200
    result = import_sources(*sources)
    assert find_check(result, CHECK).passed
    assert get_metadata(result, "raw_posts")["sources_not_read"] == []


def test_if_one_of_two_feeds_fails_no_post_is_deleted(
    import_sources: Materialize, server: FeedServer, tables: Tables
) -> None:
    sources = (server.build_url("1"), server.build_url("5"))
    import_sources(*sources)
    server.status["1"] = 404
    run_metadata = get_metadata(import_sources(*sources), "raw_posts")
    assert (run_metadata["posts"], run_metadata["posts_deleted"]) == (4, 0)
    assert tables.read("raw_posts", SLUG, where="NOT deleted").height == 4


def test_only_failing_feeds_are_an_error(import_sources: Materialize, server: FeedServer) -> None:
    server.status |= {"1": 500, "5": 500}
    with pytest.raises(TwinError, match="HTTP 500"):
        import_sources(server.build_url("1"), server.build_url("5"))


def test_the_preview_names_failed_sources_and_counts_stored_posts(
    import_sources: Materialize, server: FeedServer, home: Settings, tmp_path: Path
) -> None:
    sources = (str(write_folder({"a.md": SENTENCE}, tmp_path / "notes")), server.build_url("1"))
    import_sources(*sources)
    server.status["1"] = 503
    result = preview_author(home, read_author(home, SLUG))
    assert result.changes == {"added": 0, "edited": 0, "deleted": 0}
    assert result.found == 3
    assert "unreadable" not in result.dropped
    [line] = result.failed
    output = io.StringIO()
    show_preview(ProgressDisplay(Console(file=output, width=1000)), result)
    assert f"failed source: {line}" in output.getvalue()
    assert "HTTP 503" in line
    assert PASSWORD not in output.getvalue()
