"""Test that checkpoints in the shared store are erased with training states and old versions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.erasure_targets import author_target, post_target, reader_target
from tests.graph.s3 import make_s3_client, set_s3_environment
from tests.postgresql_server import postgresql, postgresql_url
from twin_resources.authors import Author, write_author
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.manual_steps import list_manual_steps
from twin_resources.erasure.object_versions import VersionedBucket, open_storage
from twin_resources.erasure.shared_store import SharedStore
from twin_resources.erasure.state_store import StateStore
from twin_resources.models.training_launcher.shared_state import remove_shared_states
from twin_resources.registry.host_sync import Follower
from twin_resources.registry.shared_files import read_stored_files, share_file
from twin_resources.settings import Settings
from twin_resources.storage.shared_folders import SharedFolders

__all__ = ["postgresql", "postgresql_url"]  # fixtures
ANN = author_target("ann", "Ann Bell")
POST = post_target("bob", "p1", checkpoints=frozenset({"0b"}))


@pytest.fixture(params=["folder", "bucket"])
def installation(
    request: pytest.FixtureRequest,
    home: Settings,
    tmp_path: Path,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Installation]:
    address = str(tmp_path / "store")
    if request.param == "bucket":
        set_s3_environment(monkeypatch, s3_endpoint)
        client = make_s3_client(s3_endpoint)
        client.create_bucket(Bucket="shared-store")
        versioning = {"Status": "Enabled"}
        client.put_bucket_versioning(Bucket="shared-store", VersioningConfiguration=versioning)
        address = "s3://shared-store/twin"
    shared = SharedFolders(home.home, address)
    for name in ("checkpoints/ann/0a", "checkpoints/bob/0b", "checkpoints/bob/0c"):
        (home.home / name).mkdir(parents=True)
        (home.home / name / "adapter.gguf").write_bytes(b"w")
        shared.store(name)
    installation = Installation.for_settings(home.model_copy(update={"store_uri": address}))
    yield installation
    installation.state.close()


def test_checkpoints_are_erased_from_the_shared_store(installation: Installation) -> None:
    shared_store = SharedStore(installation)
    folders = SharedFolders(installation.settings.home, installation.settings.store_uri)
    assert shared_store.find_remaining(POST) == ["weights (0b)"]
    assert shared_store.erase(POST) == 2
    assert shared_store.find_remaining(POST) == []
    assert folders.list_folders("checkpoints") == ["checkpoints/ann/0a", "checkpoints/bob/0c"]
    bucket = open_storage(installation.settings.store_uri)
    if isinstance(bucket, VersionedBucket):  # a deleted object keeps its old version
        for name in bucket.list_objects("checkpoints/ann/"):
            bucket.client.delete_object(Bucket=bucket.bucket, Key=bucket.prefix + name)
        assert folders.list_folders("checkpoints") == ["checkpoints/bob/0c"]
    assert shared_store.find_remaining(ANN) == ["weights (0a)"]
    shared_store.erase(ANN)
    assert shared_store.find_remaining(ANN) == []
    assert bucket.list_objects("checkpoints/ann/") == []


def test_states_of_unfinished_trainings_are_erased(installation: Installation) -> None:
    settings = installation.settings
    folders = SharedFolders(settings.home, settings.store_uri)
    trainings = ("bob-0b11", "ann-0a11", "bob-bee-0b22")
    for training in trainings:
        name = f"work/training/{training}/state/step-000010"
        (settings.home / name).mkdir(parents=True)
        (settings.home / name / "state.json").write_text("{}", encoding="utf-8")
        folders.store(name)
    shared_store = SharedStore(installation)
    assert shared_store.find_remaining(POST) == ["weights (0b)", "weights (bob-0b11)"]
    shared_store.erase(POST)
    assert shared_store.find_remaining(POST) == []

    remove_shared_states(settings, "ann")

    remaining = [name.split("/")[2] for name in folders.list_folders("work/training")]
    assert remaining == ["bob-bee-0b22"]
    assert "weights (bob-bee-0b22)" in shared_store.find_remaining(reader_target("r1"))


def test_an_erased_authors_file_is_removed_from_other_hosts(
    home: Settings, postgresql_url: str, tmp_path: Path
) -> None:
    first_host = home.model_copy(update={"state_url": postgresql_url})
    second_host = first_host.model_copy(update={"home": tmp_path / "there"})
    for author in (Author("ann", "Ann Bell"), Author("bob", "Bob")):
        share_file(first_host, write_author(first_host, author))
    follower = Follower(second_host)
    follower.poll_once()
    assert {path.name for path in second_host.authors_dir.iterdir()} == {"ann.toml", "bob.toml"}
    installation = Installation.for_settings(first_host)
    with closing(installation.state):
        StateStore(installation).erase(ANN)
        assert StateStore(installation).find_remaining(ANN) == []
        assert read_stored_files(installation.state).keys() == {"authors/bob.toml"}
        follower.poll_once()
        assert [path.name for path in second_host.authors_dir.iterdir()] == ["bob.toml"]
        target = replace(ANN, checkpoints=frozenset({"0a"}))
        (other_hosts,) = [
            step
            for step in list_manual_steps(installation, target, asked_at=0.0)
            if "other hosts" in step.what
        ]
    assert "checkpoints/*/0a, checkpoints/ann" in other_hosts.how
