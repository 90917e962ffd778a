"""Test imports of changed feeds over real HTTP, and of all authors every night."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest

from tests.http_server import Request, Response, http_server
from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import SettingsResource, StateResource
from twin_resources.settings import Settings
from twin_sensors import changed_feeds as sensor_module
from twin_sensors.changed_feeds import changed_feeds
from twin_sensors.import_schedules import import_all_posts_every_night

NOON = datetime(2026, 3, 1, 12, 20, tzinfo=UTC)


@dataclass
class FeedServer:
    """Serves one feed, with or without an ETag, and counts its responses."""

    url: str = ""
    body: bytes = b"<rss>one</rss>"
    etag: str = '"one"'
    status: int = 200
    full_count: int = 0
    unchanged_count: int = 0

    def publish(self, word: str, *, etag: bool = True) -> None:
        self.body, self.etag = f"<rss>{word}</rss>".encode(), f'"{word}"' if etag else ""

    def answer(self, request: Request) -> Response:
        if self.status != 200:
            return Response(status=self.status)
        if self.etag and request.headers.get("if-none-match") == self.etag:
            self.unchanged_count += 1
            return Response(status=304)
        self.full_count += 1
        return Response(self.body, headers={"ETag": self.etag} if self.etag else {})


@pytest.fixture
def server() -> Iterator[FeedServer]:
    server = FeedServer()
    with http_server(server.answer) as address:
        server.url = f"{address}/feed.xml"
        yield server


@dg.op
def do_nothing() -> None:
    """Do nothing."""


@dg.op
def record_posts(context) -> None:  # type: ignore[no-untyped-def]
    """Record a materialization as an import does."""
    context.log_event(dg.AssetMaterialization("raw_posts", partition=context.partition_key))


@dg.op
def raise_error() -> None:
    """Raise an error."""
    raise ValueError("the server is down")


def build_import(op: dg.OpDefinition) -> dg.JobDefinition:
    """Return a job with the name of the import, which runs only one op."""
    authors = dg.DynamicPartitionsDefinition(name="authors")
    return dg.GraphDefinition("import_posts", node_defs=[op]).to_job(partitions_def=authors)


class FeedRunner:
    """A home with authors, an instance with their partitions, the sensor's cursor and a clock."""

    def __init__(self, home: Settings, instance: dg.DagsterInstance) -> None:
        self.home, self.instance, self.hour = home, instance, NOON
        self.cursor: str | None = None

    def add_author(self, slug: str, *sources: str) -> None:
        write_author(self.home, Author(slug, slug, sources=sources))
        self.instance.add_dynamic_partitions("authors", [slug])

    def read_clock(self) -> float:
        return self.hour.timestamp()

    def tick(self, *, keep_cursor: bool = True) -> dg.SensorResult:
        self.hour += timedelta(hours=1)
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={"settings": SettingsResource(), "state": StateResource()},
        ) as context:
            result = changed_feeds(context)
        assert isinstance(result, dg.SensorResult)
        if keep_cursor:
            self.cursor = result.cursor
        return result

    def request_run(self) -> dg.RunRequest:
        [request] = self.tick().run_requests or ()
        return request

    def skip_reason(self) -> str:
        result = self.tick()
        assert not result.run_requests
        assert isinstance(result.skip_reason, dg.SkipReason)
        return str(result.skip_reason.skip_message)

    def launch(self, request: dg.RunRequest, op: dg.OpDefinition = do_nothing) -> None:
        build_import(op).execute_in_process(
            partition_key=request.partition_key, tags=dict(request.tags), instance=self.instance,
            raise_on_error=False,
        )  # fmt: skip


@pytest.fixture
def runner(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeedRunner]:
    with dg.instance_for_test() as instance:
        runner = FeedRunner(home, instance)
        monkeypatch.setattr(sensor_module, "time", SimpleNamespace(time=runner.read_clock))
        yield runner


@pytest.mark.long
def test_a_feed_is_imported_once_per_change(runner: FeedRunner, server: FeedServer) -> None:
    runner.add_author("ann", server.url)
    first = runner.request_run()
    runner.launch(first)
    assert "imported" in runner.skip_reason()
    assert "nothing new" in runner.skip_reason()
    assert (server.full_count, server.unchanged_count) == (1, 2)
    server.publish("two")
    second = runner.request_run()
    runner.launch(second)
    runner.skip_reason()
    server.publish("one")  # The first content again is another change with another key.
    third = runner.request_run()
    assert len({first.run_key, second.run_key, third.run_key}) == 3


@pytest.mark.long
@pytest.mark.parametrize(("minutes", "is_known"), [(50, True), (90, False)])
def test_a_feed_imported_within_the_hour_is_not_imported_again(
    runner: FeedRunner, server: FeedServer, minutes: int, is_known: bool
) -> None:
    """As after `twin up`, without an earlier request for the feed."""
    runner.add_author("ann", server.url)
    runner.launch(dg.RunRequest(partition_key="ann"), record_posts)
    runner.hour = datetime.now(UTC) + timedelta(minutes=minutes - 60)
    if is_known:
        assert "nothing has changed since the import" in runner.skip_reason()
        server.publish("two")
    assert runner.request_run().partition_key == "ann"


def test_a_feed_without_validators_is_compared_by_content(
    runner: FeedRunner, server: FeedServer
) -> None:
    server.publish("one", etag=False)
    runner.add_author("ann", server.url)
    runner.launch(runner.request_run())
    runner.skip_reason()
    assert "nothing new" in runner.skip_reason()
    assert (server.full_count, server.unchanged_count) == (3, 0)


@pytest.mark.long
def test_a_changed_etag_alone_is_not_a_change(runner: FeedRunner, server: FeedServer) -> None:
    runner.add_author("ann", server.url)
    runner.launch(runner.request_run())
    runner.skip_reason()
    server.etag = '"another balancer"'
    assert "nothing new" in runner.skip_reason()


def test_a_failing_feed_delays_no_other_author(runner: FeedRunner, server: FeedServer) -> None:
    runner.add_author("ann", server.url, "/a/folder")
    runner.add_author("cleo", "/a/folder")
    (runner.home.authors_dir / "torn.toml").write_text("name = ")
    request = runner.request_run()
    assert request.partition_key == "ann"
    runner.launch(request)
    server.status = 503
    message = runner.skip_reason()
    assert "ann: Tried to read the feed" in message
    assert "HTTP 503" in message
    assert "torn: Tried to read the settings" in message
    assert "cleo" not in message
    server.status = 200
    assert "ann: imported" in runner.skip_reason()


@pytest.mark.long
def test_a_failing_feed_delays_no_other_feed(runner: FeedRunner, server: FeedServer) -> None:
    runner.add_author("bob", server.url, "http://127.0.0.1:9/feed.xml")
    runner.launch(runner.request_run())
    message = runner.skip_reason()
    assert "bob: Tried to read the feed http://127.0.0.1/feed.xml" in message
    assert "bob: imported" in message
    server.publish("two")
    runner.launch(runner.request_run())
    runner.skip_reason()
    server.status = 503
    assert "bob: Tried to read" in runner.skip_reason()  # No feed answers, so nothing changes.
    server.status = 200
    assert "bob: nothing new" in runner.skip_reason()


@pytest.mark.long
def test_a_failed_import_is_tried_again(runner: FeedRunner, server: FeedServer) -> None:
    runner.add_author("ann", server.url)
    keys = []
    for _ in range(3):
        request = runner.request_run()
        keys.append(request.run_key)
        runner.launch(request, raise_error)
    assert len(set(keys)) == 3
    assert "failed 3 times" in runner.skip_reason()
    assert "nothing new" in runner.skip_reason()


def test_a_run_that_never_started_is_requested_again(
    runner: FeedRunner, server: FeedServer
) -> None:
    runner.add_author("ann", server.url)
    [lost_request] = runner.tick(keep_cursor=False).run_requests or ()  # the tick's process died
    request = runner.request_run()
    assert request.run_key == runner.request_run().run_key
    assert lost_request.partition_key == "ann"


def test_an_author_without_a_partition_waits_for_one(
    runner: FeedRunner, server: FeedServer
) -> None:
    write_author(runner.home, Author("ann", "ann", sources=(server.url,)))
    assert "ann: Dagster has no partition 'ann'" in runner.skip_reason()
    runner.instance.add_dynamic_partitions("authors", ["ann"])
    assert runner.request_run().partition_key == "ann"


def test_the_cursor_names_no_address(runner: FeedRunner, server: FeedServer) -> None:
    """An address may contain a token, and Dagster's page shows the cursor."""
    runner.add_author("ann", f"{server.url}?token=secret")
    runner.request_run()
    assert runner.cursor is not None
    assert "ann" in runner.cursor
    assert "secret" not in runner.cursor
    assert "feed.xml" not in runner.cursor


def test_an_author_who_was_deleted_leaves_the_cursor(
    runner: FeedRunner, server: FeedServer
) -> None:
    runner.add_author("ann", server.url)
    runner.request_run()
    (runner.home.authors_dir / "ann.toml").unlink()
    assert runner.skip_reason() == "no author with a feed"
    assert runner.cursor == "{}"


def tick_at_night(runner: FeedRunner) -> list[dg.RunRequest | dg.SkipReason]:
    with dg.build_schedule_context(
        instance=runner.instance,
        scheduled_execution_time=runner.hour,
        resources={"settings": SettingsResource(), "state": StateResource()},
    ) as context:
        return list(import_all_posts_every_night(context))  # type: ignore[arg-type]


def test_all_authors_with_sources_are_imported_nightly(runner: FeedRunner) -> None:
    [reason] = tick_at_night(runner)
    assert isinstance(reason, dg.SkipReason)
    runner.add_author("ann", "/a/folder")
    runner.add_author("bob")
    write_author(runner.home, Author("cleo", "cleo", sources=("/another",)))  # no partition
    (runner.home.authors_dir / "torn.toml").write_text("name = ")
    [request] = tick_at_night(runner)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "ann"
    assert request.run_key == f"night:ann:{runner.hour.isoformat()}"
