"""Test the data that hosts share: folders in a file store, author files as rows of the state."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from tests.graph.s3 import make_s3_client, set_s3_environment
from tests.model_versions import register_version
from tests.postgresql_server import postgresql, postgresql_url
from twin_assets.checkpoints.manifest import write_pointer
from twin_assets.evaluation.judgement import _find_candidate
from twin_resources.authors import Author, list_author_slugs, write_author
from twin_resources.errors import TwinError
from twin_resources.gateway.api.recent_responses import RecentResponses, RequestOrigin
from twin_resources.registry.host_sync import (
    Follower,
    create_follower,
    fetch_versions,
    prepare_run,
    share_weights,
)
from twin_resources.registry.policy import Policy
from twin_resources.registry.registry import HOME_PREFIX, Registry
from twin_resources.registry.shared_files import (
    compare_files,
    fetch_author_files,
    read_author_files,
    read_change_token,
    read_stored_files,
    store_files,
    update_files,
)
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.file_store import FileStore
from twin_resources.storage.shared_folders import (
    FILE_LIST_NAME,
    FolderNotStoredError,
    SharedFolders,
)
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.weights.weights import RECORD_FILE, embedder_folder, prepared_folder

__all__ = ["postgresql", "postgresql_url"]  # fixtures
FOLDER = "checkpoints/ann/0123"


@pytest.fixture(params=["folder", "bucket"])
def address(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    set_s3_environment(monkeypatch, s3_endpoint)
    make_s3_client(s3_endpoint).create_bucket(Bucket=tmp_path.name.replace("_", "-")[:60].lower())
    return f"s3://{tmp_path.name.replace('_', '-')[:60].lower()}/store"


def make_host(folder: Path, address: str) -> SharedFolders:
    folder.mkdir()
    return SharedFolders(folder, address)


def add_checkpoint(shared_folders: SharedFolders) -> SharedFolders:
    folder = shared_folders.home / FOLDER
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "weights.safetensors").write_bytes(b"w" * 100_000)
    (folder / "manifest.json").write_text("{}")
    return shared_folders


def test_a_folder_is_stored_once_and_fetched_once(tmp_path: Path, address: str) -> None:
    first = add_checkpoint(make_host(tmp_path / "a", address))
    second = make_host(tmp_path / "b", address)
    with pytest.raises(FolderNotStoredError, match=FOLDER):
        second.fetch(FOLDER)
    assert not (second.home / FOLDER).exists()
    assert (first.store(FOLDER), first.store(FOLDER)) == (True, False)
    assert second.list_folders("checkpoints") == [FOLDER]
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(second.fetch(FOLDER))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, True], "expected exactly one fetch"
    assert (second.home / FOLDER / "adapter" / "weights.safetensors").read_bytes() == b"w" * 100_000
    assert [path.name for path in (second.home / "work").iterdir()] == ["fetch.lock"]


def test_a_folder_with_changed_bytes_is_not_fetched(tmp_path: Path, address: str) -> None:
    first = add_checkpoint(make_host(tmp_path / "a", address))
    second = make_host(tmp_path / "b", address)
    first.store(FOLDER)
    changed_file = tmp_path / "changed"
    changed_file.write_bytes(b"x")
    FileStore(address).store_file(f"{FOLDER}/manifest.json", changed_file)
    with pytest.raises(TwinError, match=r"manifest.json differs from the stored file"):
        second.fetch(FOLDER)
    assert not (second.home / FOLDER).exists()


def test_a_folder_without_its_file_list_does_not_count_as_stored(tmp_path: Path) -> None:
    shared = add_checkpoint(make_host(tmp_path / "a", str(tmp_path / "store")))
    shared.store(FOLDER)
    (tmp_path / "store" / FOLDER / FILE_LIST_NAME).unlink()
    assert not shared.contains(FOLDER)
    assert shared.store(FOLDER), "an interrupted upload was not repeated"


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: pytest.FixtureRequest, home: Settings, postgresql_url: str) -> Iterator[State]:
    url = home.state_address if request.param == "sqlite" else postgresql_url
    with closing(State.open(url)) as store:
        yield store


def test_rows_are_compared_as_new_changed_and_deleted(state: State, home: Settings) -> None:
    write_author(home, Author("ann", "Ann"))
    write_author(home, Author("bob", "Bob"))
    files = read_author_files(home.authors_dir)
    assert compare_files(read_stored_files(state), files).new_names == (
        "authors/ann.toml",
        "authors/bob.toml",
    )
    before = read_change_token(state)
    store_files(state, files, row_names=files)
    first = read_change_token(state)
    store_files(state, files, row_names=files)
    assert first != before
    assert read_change_token(state) == first, "storing the same rows changed the token"
    write_author(home, Author("ann", "Ann Bell"))
    (home.authors_dir / "bob.toml").unlink()
    files = read_author_files(home.authors_dir)
    changes = compare_files(read_stored_files(state), files)
    assert (changes.new_names, changes.changed_names, changes.deleted_names) == (
        (),
        ("authors/ann.toml",),
        ("authors/bob.toml",),
    )
    store_files(state, files, row_names=["authors/ann.toml"])
    assert read_stored_files(state).keys() == {"authors/ann.toml", "authors/bob.toml"}
    store_files(state, files, row_names=["authors/bob.toml"])
    assert read_stored_files(state) == files
    assert read_change_token(state) != first


def test_a_file_that_a_person_changed_is_kept_and_reported(home: Settings) -> None:
    write_author(home, Author("ann", "Ann"))
    stored_files = read_author_files(home.authors_dir)
    assert update_files(home.home, stored_files) == []
    write_author(home, Author("ann", "Ann Bell"))
    (message,) = update_files(home.home, stored_files)
    assert "authors/ann.toml was changed on this host" in message
    assert "Ann Bell" in (home.authors_dir / "ann.toml").read_text()
    (home.authors_dir / "ann.toml").unlink()
    assert update_files(home.home, stored_files) == []
    assert update_files(home.home, {}) == []
    assert list_author_slugs(home) == [], "a deleted row left its file"


@pytest.mark.parametrize(
    "name", ["../escaped.toml", "authors/../escaped.toml", "/escaped.toml", "authors/a/b.toml",
             "authors/keys.json", "policy.json", "authors/"],
)  # fmt: skip
def test_a_row_with_a_path_outside_the_folder_writes_nothing(home: Settings, name: str) -> None:
    before = set(home.home.parent.rglob("*"))
    (message,) = update_files(home.home, {name: "x = 1"})
    assert repr(name) in message
    assert set(home.home.parent.rglob("*")) == before
    update_files(home.home, {name: "x = 1", "authors/zoe.toml": 'name = "Zoe"'})
    assert list_author_slugs(home) == ["zoe"], "the valid row was not applied"


def test_a_home_with_a_local_state_has_no_follower(home: Settings) -> None:
    assert create_follower(home) is None
    assert create_follower(home.model_copy(update={"state_url": home.state_address})) is None


def test_paths_of_a_shared_registry_are_relative_to_each_hosts_home(
    tmp_path: Path, postgresql_url: str
) -> None:
    with closing(State.open(postgresql_url)) as state:
        first, second = (
            Registry(state, policy_path=tmp_path / name / "policy.json") for name in "ab"
        )
        paths = {
            "folder": f"{tmp_path}/a/{FOLDER}",
            "base_gguf": f"{tmp_path}/a/weights/m/1/b.gguf",
        }
        register_version(first, "ann", "0123", base="https://example.org/v1#model", **paths)
        version = second.get("ann", 1)
        assert (version.folder, version.base) == (
            f"{tmp_path}/b/{FOLDER}",
            "https://example.org/v1#model",
        )
        assert first.get("ann", 1).folder == paths["folder"]
        assert HOME_PREFIX not in str(second.find_by_checkpoint("0123"))


def open_home(folder: Path, monkeypatch: pytest.MonkeyPatch, store: Path) -> Settings:
    monkeypatch.setenv("TWIN_HOME", str(folder))
    monkeypatch.setenv("TWIN_STORE_URI", str(store))
    folder.mkdir(exist_ok=True)
    return load_settings()


def test_a_host_fetches_the_base_model_and_embedder_of_another_host(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_home(home.home, monkeypatch, tmp_path / "store")
    base, embedder, model = prepared_folder(first), embedder_folder(first), tmp_path / "model"
    for path, text in (
        (base / "r1" / "base.gguf", "GGUF"),
        (base / "r1" / RECORD_FILE, json.dumps(
            {"name": "org/base", "folder": str(model), "source": f"folder:{model}"}
        )),
        (model / "config.json", "{}"),
        (embedder / "e1" / "model.onnx", "of e1"),
        (embedder / "e2" / "model.onnx", "of e2"),
        (embedder / "current.json", '{"revision": "e1"}'),
    ):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    names = [path.relative_to(first.home).as_posix() for path in (base / "r1", embedder / "e1")]
    paths = (str(base / "r1" / "base.gguf"), str(model), None)
    assert share_weights(first, *paths) == sorted(names)
    assert share_weights(first, *paths) == [], "weights were stored twice"
    assert list((first.home / "work").iterdir()) == []

    second = open_home(tmp_path / "second", monkeypatch, tmp_path / "store")
    assert fetch_versions(second, Policy()) == []
    base_folder = prepared_folder(second) / "r1"
    record = json.loads((base_folder / RECORD_FILE).read_text())
    assert record == {"name": "org/base", "folder": "model", "source": "hub:org/base"}
    assert (base_folder / "base.gguf").read_text() == "GGUF"
    assert (base_folder / "model" / "config.json").read_text() == "{}"
    assert (embedder_folder(second) / "e1" / "model.onnx").read_text() == "of e1"
    assert json.loads((embedder_folder(second) / "current.json").read_text()) == {"revision": "e1"}
    (embedder / "current.json").write_text('{"revision": "e2"}')
    assert share_weights(first) == [names[1].replace("e1", "e2")]
    assert fetch_versions(second, Policy()) == [], "a second embedder was fetched"
    third = open_home(tmp_path / "third", monkeypatch, tmp_path / "store")
    [message] = fetch_versions(third, Policy())
    assert "several revisions" in message
    assert (prepared_folder(third) / "r1").is_dir(), "the base model was not fetched"


def test_a_follower_polls_until_it_is_stopped_despite_errors(
    home: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    follower, polls, waits = Follower(home), iter([RuntimeError("no row"), None]), list[float]()

    def step() -> None:
        if (error := next(polls)) is not None:
            raise error

    monkeypatch.setattr(follower, "poll_once", step)
    stop: Any = SimpleNamespace(wait=lambda wait_s: waits.append(wait_s) or len(waits) > 2)
    follower.run(stop)
    assert waits == [0.5] * 3
    assert next(polls, "polled twice") == "polled twice"
    assert capsys.readouterr().err == "following the state store: RuntimeError: no row\n"


def test_a_follower_reports_missing_folders_and_survives_postgresql(
    home: Settings, postgresql_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    shared = home.model_copy(update={"state_url": postgresql_url})
    follower = Follower(shared, clock=lambda: now[0])
    assert follower.lag_reason, "there must be a reason before the first poll"
    with closing(State.open(postgresql_url)) as state:
        registry = Registry(state, policy_path=home.home / "of-another" / "policy.json")
        follower.poll_once()
        assert (follower.lag_reason, follower.problems) == ("", "")
        assert capsys.readouterr().err == "following the state store: up to date\n"
        register_version(registry, "ann", "0123", folder=str(home.home / "of-another" / FOLDER))
        registry.move("ann", 1, "refused", actor="gate", reason="test")
        registry.move("ann", 1, "stable", actor="person", reason="test", force=True)
    follower.poll_once()
    assert f"needs {FOLDER}" in follower.lag_reason
    assert capsys.readouterr().err == f"following the state store: {follower.lag_reason}\n"
    (home.home / FOLDER).mkdir(parents=True)
    now[0] += 4
    follower.poll_once()
    assert f"needs {FOLDER}" in follower.lag_reason, "polled again within five seconds"
    now[0] += 2
    follower.poll_once()
    assert (follower.lag_reason, follower.problems) == ("", "")
    opened_state = follower._state
    follower._state = State(sa.create_engine("postgresql://twin@127.0.0.1:1/none"))
    follower.poll_once()
    assert "the state that was read last stays in use" in follower.problems
    follower._state, now[0] = opened_state, now[0] + 60
    follower.poll_once()
    assert (follower.lag_reason, follower.problems) == ("", ""), "the follower did not recover"
    unreachable = {"state_url": "postgresql://twin@127.0.0.1:1/none"}
    follower = Follower(shared.model_copy(update=unreachable))
    follower.poll_once()
    assert follower.lag_reason == ""
    assert "the state that was read last stays in use" in follower.problems


def test_a_tick_fetches_author_files_and_a_run_reports_a_missing_folder(
    home: Settings, postgresql_url: str, tmp_path: Path
) -> None:
    shared = home.model_copy(update={"state_url": postgresql_url})
    with closing(State.open(postgresql_url)) as state:
        store_files(state, {"authors/ann.toml": 'name = "Ann"\n'}, row_names=["authors/ann.toml"])
        registry = Registry(state, policy_path=tmp_path / "another" / "policy.json")
        folder = str(tmp_path / "another" / "checkpoints" / "ann" / "c1")
        register_version(registry, "ann", "c1", folder=folder)
        registry.move("ann", 1, "refused", actor="gate", reason="a test's own")
        registry.move("ann", 1, "stable", actor="a person", reason="a test's own", force=True)

    fetch_author_files(home)
    assert list_author_slugs(home) == [], "a local store was fetched"
    fetch_author_files(shared)
    assert list_author_slugs(shared) == ["ann"]
    assert not shared.policy_path.exists(), "a tick fetched versions"
    prepare_run(home, "ann")
    with pytest.raises(TwinError, match="checkpoints/ann/c1, which is not on this host"):
        prepare_run(shared, "ann")


def test_the_candidate_is_the_newest_training_of_all_hosts(
    home: Settings, postgresql_url: str
) -> None:
    checkpoints = home.checkpoints_dir / "ann"
    checkpoints.mkdir(parents=True)
    with closing(State.open(postgresql_url)) as state:
        registry = Registry(state, policy_path=home.policy_path)
        with pytest.raises(TwinError, match="candidate"):
            _find_candidate("ann", checkpoints, registry)
        register_version(registry, "ann", "c1")
        assert _find_candidate("ann", checkpoints, registry).version == 1
        pointer = write_pointer(checkpoints, "candidate", {"checkpoint": "c1"})
        register_version(registry, "ann", "c2")
        os.utime(pointer, (1, 1))
        assert _find_candidate("ann", checkpoints, registry).version == 2, "trained elsewhere"
        pointer.touch()
        os.utime(pointer, (time.time() + 60, time.time() + 60))
        assert _find_candidate("ann", checkpoints, registry).version == 1, "trained again here"
    with closing(open_home_state(home)) as state:
        local = Registry(state, policy_path=home.policy_path)
        register_version(local, "ann", "c1")
        register_version(local, "ann", "c2")
        os.utime(pointer, (1, 1))
        assert _find_candidate("ann", checkpoints, local).version == 1


def test_gateways_of_eight_hosts_read_each_others_answers(postgresql_url: str) -> None:
    """The first answers are stored at the same time, before the table exists."""
    gateways = [RecentResponses(lambda: State.open(postgresql_url)) for _ in range(8)]

    def store(number: int) -> None:
        origin = RequestOrigin("eve", "ann", started_at=0.0)
        turns = [{"role": "user", "content": "Which oil?"}]
        gateways[number].store(origin, str(number), turns, f"Drop {number}.")

    with ThreadPoolExecutor(len(gateways)) as pool:
        list(pool.map(store, range(len(gateways))))
    for number, gateway in enumerate(gateways):
        another = str((number + 1) % len(gateways))
        assert gateway.load_answer("eve", another) == f"Drop {another}."
        assert gateway.load_answer("bob", another) is None, "another reader got the answer"
