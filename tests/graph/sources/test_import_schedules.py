"""Scheduled imports: feeds over real HTTP, one run for each change; the nightly check of all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest

from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import SettingsResource, StateResource
from twin_resources.settings import Settings
from twin_sensors.import_schedules import (
    import_all_posts_every_night,
    import_changed_feeds_every_hour,
)

NOON = datetime(2026, 3, 1, 12, 20, tzinfo=UTC)


class FeedServer(ThreadingHTTPServer):
    """Serves one feed, with or without validators, and counts what it sends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FeedHandler)
        self.body, self.etag, self.status = b"<rss>one</rss>", '"one"', 200
        self.full = self.unchanged = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/feed.xml"

    def publish(self, word: str, *, etag: bool = True) -> None:
        self.body, self.etag = f"<rss>{word}</rss>".encode(), f'"{word}"' if etag else ""


class FeedHandler(BaseHTTPRequestHandler):
    server: FeedServer

    def do_GET(self) -> None:
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        if self.server.etag and self.headers["If-None-Match"] == self.server.etag:
            self.server.unchanged += 1
            self.send_response(304)
            self.end_headers()
            return
        self.server.full += 1
        self.send_response(200)
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Log nothing into the test's output."""


@pytest.fixture
def server() -> Iterator[FeedServer]:
    feed_server = FeedServer()
    thread = threading.Thread(target=feed_server.serve_forever, daemon=True)
    thread.start()
    yield feed_server
    feed_server.shutdown()
    feed_server.server_close()
    thread.join(10)


@dg.op
def nothing() -> None:
    """One step."""


@dg.job(name="import_posts", partitions_def=dg.DynamicPartitionsDefinition(name="authors"))
def small_import() -> None:
    """A real run under the real name; what an import reads is tested elsewhere."""
    nothing()


@dg.op
def posts_read(context) -> None:  # type: ignore[no-untyped-def]
    """The metadata that Dagster keeps of an import."""
    context.log_event(dg.AssetMaterialization("raw_posts", partition=context.partition_key))


@dg.job(name="import_posts", partitions_def=dg.DynamicPartitionsDefinition(name="authors"))
def recorded_import() -> None:
    """A real run that says that it has read the posts."""
    posts_read()


@dg.op
def failure() -> None:
    """One step that fails."""
    raise ValueError("as a server that is down would")


@dg.job(name="import_posts", partitions_def=dg.DynamicPartitionsDefinition(name="authors"))
def broken_import() -> None:
    """A real run that fails."""
    failure()


class World:
    """A home with authors, an instance with their partitions, and a clock."""

    def __init__(self, home: Settings, instance: dg.DagsterInstance) -> None:
        self.home, self.instance, self.hour = home, instance, NOON

    def author(self, slug: str, *sources: str) -> None:
        write_author(self.home, Author(slug, slug, sources=sources))
        self.instance.add_dynamic_partitions("authors", [slug])

    def tick(self, schedule: dg.ScheduleDefinition) -> list[dg.RunRequest | dg.SkipReason]:
        self.hour += timedelta(hours=1)
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=self.hour,
            resources={"settings": SettingsResource(), "state": StateResource()},
        ) as context:
            result = schedule(context)
            return list(result)  # type: ignore[arg-type]

    def next_request(self) -> dg.RunRequest:
        [request] = self.tick(import_changed_feeds_every_hour)
        assert isinstance(request, dg.RunRequest)
        return request

    def quiet(self) -> str:
        [reason] = self.tick(import_changed_feeds_every_hour)
        assert isinstance(reason, dg.SkipReason)
        return str(reason.skip_message)

    def launch(self, request: dg.RunRequest, job: dg.JobDefinition = small_import) -> None:
        job.execute_in_process(
            partition_key=request.partition_key, tags=dict(request.tags), instance=self.instance,
            raise_on_error=False,
        )  # fmt: skip


@pytest.fixture
def world(home: Settings) -> Iterator[World]:
    with dg.instance_for_test() as instance:
        yield World(home, instance)


def test_a_feed_is_imported_once_a_change(world: World, server: FeedServer) -> None:
    world.author("ann", server.url)
    first = world.next_request()
    world.launch(first)
    assert "imported" in world.quiet()
    assert "nothing new" in world.quiet()
    assert (server.full, server.unchanged) == (1, 2)
    server.publish("two")
    second = world.next_request()
    world.launch(second)
    world.quiet()
    server.publish("one")  # as it was at first: another change, and another key
    third = world.next_request()
    assert len({first.run_key, second.run_key, third.run_key}) == 3


@pytest.mark.parametrize(("minutes", "is_known"), [(50, True), (90, False)])
def test_a_feed_that_an_import_of_this_hour_has_read_is_known(
    world: World, server: FeedServer, minutes: int, is_known: bool
) -> None:
    """As after `twin up`: the feed was never requested before."""
    world.author("ann", server.url)
    world.launch(dg.RunRequest(partition_key="ann"), recorded_import)
    world.hour = datetime.now(UTC) + timedelta(minutes=minutes - 60)
    if is_known:
        assert "nothing has changed since the import" in world.quiet()
        server.publish("two")
    assert world.next_request().partition_key == "ann"


def test_a_server_without_validators_is_known_by_its_bytes(
    world: World, server: FeedServer
) -> None:
    server.publish("one", etag=False)
    world.author("ann", server.url)
    world.launch(world.next_request())
    world.quiet()
    assert "nothing new" in world.quiet()
    assert (server.full, server.unchanged) == (3, 0)


def test_an_etag_that_changes_alone_is_no_change(world: World, server: FeedServer) -> None:
    world.author("ann", server.url)
    world.launch(world.next_request())
    world.quiet()
    server.etag = '"another balancer"'
    assert "nothing new" in world.quiet()


def test_a_failing_feed_decides_nothing_and_keeps_nobody_waiting(
    world: World, server: FeedServer
) -> None:
    world.author("ann", server.url, "/a/folder")
    world.author("cleo", "/a/folder")
    (world.home.authors_dir / "torn.toml").write_text("name = ")
    request = world.next_request()
    assert request.partition_key == "ann"
    world.launch(request)
    server.status = 503
    message = world.quiet()
    assert "ann: Tried to read the feed" in message
    assert "HTTP 503" in message
    assert "torn: Tried to read the settings" in message
    assert "cleo" not in message
    server.status = 200
    assert "ann: imported" in world.quiet()


def test_a_feed_that_is_down_keeps_no_other_feed_waiting(world: World, server: FeedServer) -> None:
    world.author("bob", server.url, "http://127.0.0.1:9/feed.xml")
    world.launch(world.next_request())
    message = world.quiet()
    assert "bob: Tried to read the feed http://127.0.0.1/feed.xml" in message
    assert "bob: imported" in message
    server.publish("two")
    world.launch(world.next_request())
    world.quiet()
    server.status = 503
    assert "bob: Tried to read" in world.quiet()  # none answers: nothing is decided
    server.status = 200
    assert "bob: nothing new" in world.quiet()


def test_a_failed_import_is_tried_again(world: World, server: FeedServer) -> None:
    world.author("ann", server.url)
    keys = []
    for _ in range(3):
        request = world.next_request()
        keys.append(request.run_key)
        world.launch(request, broken_import)
    assert len(set(keys)) == 3
    assert "failed 3 times" in world.quiet()
    assert "nothing new" in world.quiet()


def test_a_run_that_was_never_started_is_asked_for_again(world: World, server: FeedServer) -> None:
    world.author("ann", server.url)
    assert world.next_request().run_key == world.next_request().run_key


def test_an_author_without_a_partition_waits_for_one(world: World, server: FeedServer) -> None:
    write_author(world.home, Author("ann", "ann", sources=(server.url,)))
    assert "ann: waits: Dagster has no partition 'ann'" in world.quiet()
    world.instance.add_dynamic_partitions("authors", ["ann"])
    assert world.next_request().partition_key == "ann"


def test_every_night_everybody_with_sources_is_imported(world: World) -> None:
    [reason] = world.tick(import_all_posts_every_night)
    assert isinstance(reason, dg.SkipReason)
    world.author("ann", "/a/folder")
    world.author("bob")
    write_author(world.home, Author("cleo", "cleo", sources=("/another",)))  # no partition
    (world.home.authors_dir / "torn.toml").write_text("name = ")
    [request] = world.tick(import_all_posts_every_night)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "ann"
    assert request.run_key == f"night:ann:{world.hour.isoformat()}"
