"""Test the sensor `new_posts` on a real instance, with real runs of `raw_posts`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.graph.sources.conftest import Bucket
from tests.prepared_embedder import write_manifest
from twin_assets.corpus.raw_posts import raw_posts
from twin_assets.tables_io_manager import TablesIOManager
from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import SettingsResource, StateResource, TablesResource
from twin_resources.models.embedder.embedder import embedder_folder
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables
from twin_sensors import launchable_runs
from twin_sensors import new_posts as sensor_module
from twin_sensors.new_posts import new_posts

POST = "# A post about {0}\n\nThe {0} went to the workshop and it did not come back unchanged.\n"


class World:
    """A home, an instance, and the job `import_posts` reduced to `raw_posts`."""

    def __init__(self, home: Settings, instance: dg.DagsterInstance) -> None:
        self.home, self.instance, self.cursor = home, instance, None
        definitions = dg.Definitions(
            assets=[raw_posts],
            jobs=[dg.define_asset_job("import_posts", selection=[raw_posts])],
            resources={
                "settings": SettingsResource(),
                "tables": TablesResource(),
                "tables_io": TablesIOManager(),
            },
        )
        self.job = definitions.resolve_job_def("import_posts")

    def add_author(self, slug: str, *sources: str | Path) -> None:
        write_author(self.home, Author(slug, slug, sources=tuple(map(str, sources))))

    def tick(self) -> dg.SensorResult:
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={"settings": SettingsResource(), "state": StateResource()},
        ) as context:
            result = new_posts(context)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        for request in result.dynamic_partitions_requests or ():
            self.instance.add_dynamic_partitions("authors", list(request.partition_keys))
        return result

    def launch(self, request: dg.RunRequest) -> bool:
        """Run the requested import as the daemon would, and return whether it succeeded."""
        result = self.job.execute_in_process(
            partition_key=request.partition_key,
            tags=dict(request.tags),
            instance=self.instance,
            raise_on_error=False,
        )
        return result.success

    def request_run(self) -> dg.RunRequest:
        [request] = self.tick().run_requests or []
        return request

    def skip_reason(self) -> str:
        result = self.tick()
        assert not result.run_requests
        assert result.skip_reason is not None
        return str(result.skip_reason.skip_message)


@pytest.fixture
def world(home: Settings) -> Iterator[World]:
    write_manifest(home)
    with dg.instance_for_test() as instance:
        yield World(home, instance)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "posts"
    folder.mkdir()
    for subject in ("clocks", "boats"):
        (folder / f"{subject}.md").write_text(POST.format(subject))
    return folder


def test_each_change_is_imported_once(world: World, folder: Path, tables: Tables) -> None:
    world.add_author("ann", folder)
    first = world.request_run()
    assert world.instance.get_dynamic_partitions("authors") == ["ann"]
    assert world.launch(first)
    assert "imported" in world.skip_reason()
    assert "nothing new" in world.skip_reason()

    (folder / "lamps.md").write_text(POST.format("lamps"))
    second = world.request_run()
    assert world.launch(second)
    assert "imported" in world.skip_reason()

    (folder / "lamps.md").unlink()
    third = world.request_run()
    assert world.launch(third)
    assert "imported" in world.skip_reason()
    # The folder equals that of the first import, but the key differs.
    assert len({first.run_key, second.run_key, third.run_key}) == 3
    rows = tables.read("raw_posts", "ann", columns=["source_id", "deleted"]).rows()
    assert rows == [("boats.md", False), ("clocks.md", False), ("lamps.md", True)]


def test_an_interrupted_tick_requests_the_same_run(world: World, folder: Path) -> None:
    world.add_author("ann", folder)
    world.tick()
    before = world.cursor
    (folder / "lamps.md").write_text(POST.format("lamps"))
    first = world.request_run()
    assert world.request_run().run_key == first.run_key  # It was requested and never started.
    assert world.launch(first)
    world.cursor = before  # The daemon died before it stored the cursor.
    assert "nothing has changed since the import" in world.skip_reason()


def test_posts_imported_by_twin_up_are_not_imported_again(world: World, folder: Path) -> None:
    world.add_author("ann", folder)
    world.instance.add_dynamic_partitions("authors", ["ann"])
    assert world.launch(dg.RunRequest(partition_key="ann"))
    assert "nothing has changed since the import" in world.skip_reason()
    (folder / "lamps.md").write_text(POST.format("lamps"))
    assert world.request_run().partition_key == "ann"


@pytest.mark.long
def test_posts_imported_by_twin_import_are_not_imported_again(world: World, folder: Path) -> None:
    """The time of the newest file shows neither a new post nor a deleted one."""
    world.add_author("ann", folder)
    assert world.launch(world.request_run())
    assert "imported" in world.skip_reason()
    (folder / "lamps.md").write_text(POST.format("lamps"))
    assert world.launch(dg.RunRequest(partition_key="ann"))
    assert "nothing has changed since the import" in world.skip_reason()
    (folder / "lamps.md").unlink()
    assert world.launch(dg.RunRequest(partition_key="ann"))
    assert "nothing has changed since the import" in world.skip_reason()
    assert "nothing new" in world.skip_reason()
    (folder / "clocks.md").unlink()  # No file is newer than the import.
    world.request_run()


@pytest.mark.long
def test_two_code_locations_of_one_home_start_one_import(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its own process and cursor; both see the change before a run starts."""
    world.add_author("ann", folder)
    first = world.request_run()
    second_world = World(world.home, world.instance)
    second_world.cursor = json.dumps({"epoch": 1, "turn": "", "authors": {}})  # with other keys
    with monkeypatch.context() as process:
        process.setattr(launchable_runs, "_PROCESS_HOLDER", "the other code location")
        assert "another code location has just requested import_posts" in second_world.skip_reason()
    assert world.launch(first)
    assert "imported" in world.skip_reason()
    with monkeypatch.context() as process:
        process.setattr(launchable_runs, "_PROCESS_HOLDER", "the other code location")
        process.setattr(launchable_runs, "CLAIM_DURATION_S", 0.0)  # a minute later
        assert "nothing has changed since the import" in second_world.skip_reason()
        (folder / "lamps.md").write_text(POST.format("lamps"))
        assert second_world.launch(second_world.request_run())  # Either may request it.
    assert "nothing has changed since the import" in world.skip_reason()


def test_a_running_import_delays_the_next_one(world: World, folder: Path) -> None:
    world.add_author("ann", folder)
    world.instance.add_dynamic_partitions("authors", ["ann"])
    running = world.instance.create_run_for_job(
        world.job, tags={"dagster/partition": "ann"}, status=dg.DagsterRunStatus.STARTED
    )
    assert "an import is running" in world.skip_reason()
    world.instance.report_run_canceled(running)
    assert world.request_run().partition_key == "ann"


@pytest.mark.long
def test_a_failed_import_is_tried_three_times(world: World, folder: Path) -> None:
    world.add_author("ann", folder)
    keys: set[str | None] = set()
    # No importer reads this format, so the import fails.
    (folder / "clocks.md").unlink()
    (folder / "boats.md").unlink()
    (folder / "notes.pages").write_bytes(b"PK")
    for _ in range(3):
        request = world.request_run()
        keys.add(request.run_key)
        assert not world.launch(request)
    assert len(keys) == 3
    assert "failed 3 times" in world.skip_reason()
    assert "nothing new" in world.skip_reason()
    (folder / "clocks.md").write_text(POST.format("clocks"))
    assert world.launch(world.request_run())


def test_a_run_whose_worker_died_is_started_again_by_dagster_alone(
    world: World, folder: Path
) -> None:
    world.add_author("ann", folder)
    retries = {"run_retries": {"enabled": True, "max_retries": 1}}  # as in our dagster.yaml
    with dg.instance_for_test(overrides=retries) as instance:
        world.instance = instance
        request = world.request_run()
        tags = {**request.tags, "dagster/partition": "ann"}
        started = dg.DagsterRunStatus.STARTED
        dead = instance.create_run_for_job(world.job, tags=tags, status=started)
        instance.report_run_failed(dead)
        assert "Dagster restarts it" in world.skip_reason()  # The daemon has not restarted it yet.
        restarted = instance.create_run_for_job(world.job, tags=tags, status=started)
        instance.add_run_tags(dead.run_id, {"dagster/auto_retry_run_id": restarted.run_id})
        assert "an import is running" in world.skip_reason()
        instance.report_run_canceled(restarted)
        assert "the import was canceled" in world.skip_reason()


def test_a_missing_folder_changes_nothing(world: World, folder: Path, tables: Tables) -> None:
    world.add_author("ann", folder)
    world.launch(world.request_run())
    world.skip_reason()
    authors = json.loads(world.cursor or "")["authors"]
    folder.rename(folder.with_name("unmounted"))
    assert "no file or folder at this path" in world.skip_reason()
    folder.mkdir()
    assert "no file" in world.skip_reason()  # the empty mount point
    assert json.loads(world.cursor or "")["authors"] == authors
    folder.rmdir()
    folder.with_name("unmounted").rename(folder)
    assert "nothing new" in world.skip_reason()
    assert not tables.read("raw_posts", "ann")["deleted"].any()


def test_one_authors_error_delays_no_other_author(world: World, folder: Path) -> None:
    world.add_author("ann", folder)
    world.add_author("abe", "https://abe.example/feed.xml")
    world.add_author("bob", folder.parent / "nowhere")
    (world.home.authors_dir / "cleo.toml").write_text("name = ")
    world.add_author("dora", "https://dora.example/feed.xml")
    result = world.tick()
    assert [request.partition_key for request in result.run_requests or ()] == ["ann"]
    world.launch((result.run_requests or ())[0])
    message = world.skip_reason()
    assert "bob: Tried to list" in message
    assert "cleo: Tried to read the settings" in message
    assert "dora" not in message
    assert "abe" not in message


def test_imports_wait_for_the_embedder(world: World, folder: Path) -> None:
    assert world.skip_reason() == "no author with a folder or an S3 prefix"
    world.add_author("ann", folder)
    current = embedder_folder(world.home) / "current.json"
    current.rename(current.with_suffix(".away"))
    assert world.skip_reason().startswith("imports wait for the embedder: no ")
    current.with_suffix(".away").rename(current)
    assert world.request_run().partition_key == "ann"


def test_an_overlong_tick_is_resumed(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slug in ("ann", "bob", "cleo"):
        world.add_author(slug, folder)
    assert sensor_module.MAX_LISTING_S < 60, "Dagster ends a tick after a minute"
    monkeypatch.setattr(sensor_module, "MAX_LISTING_S", -1.0)
    assert world.skip_reason() == "ann and all later authors are checked in the next tick"
    assert json.loads(world.cursor or "")["turn"] == "ann"
    monkeypatch.setattr(sensor_module, "MAX_LISTING_S", 30.0)
    world.cursor = json.dumps(json.loads(world.cursor or "") | {"turn": "bob"})
    partitions = [request.partition_key for request in world.tick().run_requests or ()]
    assert partitions == ["bob", "cleo", "ann"]


@pytest.mark.long
def test_a_tick_requests_at_most_ten_runs(world: World, folder: Path) -> None:
    slugs = [f"author-{number:02d}" for number in range(25)]
    for slug in slugs:
        world.add_author(slug, folder)
    requested: list[str | None] = []
    for expected in (10, 10, 5):
        requests = world.tick().run_requests or ()
        assert len(requests) == expected
        requested += [request.partition_key for request in requests]
        assert all(world.launch(request) for request in requests)
    assert requested == slugs
    world.tick()
    assert "nothing new" in world.skip_reason()


def test_a_lost_cursor_repeats_no_run_key(world: World, folder: Path) -> None:
    world.add_author("ann", folder)
    first = world.request_run()
    world.launch(first)
    world.cursor = None
    os.utime(folder / "clocks.md", (time.time() + 5, time.time() + 5))
    time.sleep(1.1)  # The number of a new cursor is its second.
    request = world.request_run()
    assert request.run_key != first.run_key


def test_an_s3_prefix_is_watched_with_its_keys(
    world: World, bucket: Bucket, tables: Tables
) -> None:
    source = f"s3://{bucket.name}/posts"
    bucket.put("posts/clocks.md", POST.format("clocks"))
    bucket.put("posts/boats.md", POST.format("boats"))
    world.add_author("ann", source)
    assert world.launch(world.request_run())
    assert "imported" in world.skip_reason()
    assert "nothing new" in world.skip_reason()

    bucket.put("posts/lamps.md", POST.format("lamps"))
    assert world.launch(world.request_run())
    world.skip_reason()

    bucket.delete("posts/boats.md")
    assert world.launch(world.request_run())
    rows = tables.read("raw_posts", "ann", columns=["source_id", "deleted"]).rows()
    assert rows == [("boats.md", True), ("clocks.md", False), ("lamps.md", False)]


def test_an_unreachable_bucket_changes_nothing(
    world: World, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("posts/clocks.md", POST.format("clocks"))
    world.add_author("ann", f"s3://{bucket.name}/posts")
    assert world.launch(world.request_run())
    world.skip_reason()
    authors = json.loads(world.cursor or "")["authors"]
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    assert "check AWS_ENDPOINT" in world.skip_reason()
    assert json.loads(world.cursor or "")["authors"] == authors
