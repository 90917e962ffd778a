"""Test erasures in a small home: ending and erasing runs, repeated rounds, returning readers."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.definitions.instigation_logger import InstigationLogger
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import TickData, TickStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._grpc.client import DagsterGrpcClient

from tests.erasure_targets import author_target, post_target
from tests.graph.erasure.spans import encode_spans, make_span, make_vote
from twin_resources.authors import Author, write_author
from twin_resources.erasure import dagster_records, journal
from twin_resources.erasure.certificate import read_certificate
from twin_resources.erasure.dagster_records import DagsterRecords
from twin_resources.erasure.data_store import DataStore, Installation
from twin_resources.erasure.erasing import ErasureIncompleteError, _erase_and_prove, run_erasure
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.state_store import StateStore
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path
from twin_resources.settings import Settings

TEXT = "In March the old clock of my uncle stopped for good."
ERASED_POST = post_target("ada", "2019/the-walk.md", TEXT, authors=frozenset({"ada"}))
ERASED_AUTHOR = author_target("ada", "Ada Wright")
PARTITION = "dagster/partition"
STARTED = dg.DagsterRunStatus.STARTED


@pytest.fixture
def dagster(home: Settings) -> Iterator[dg.DagsterInstance]:
    folder = home.home / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "run_launcher: {module: twin_resources.run_launcher, class: LocalRunLauncher}\n"
    )
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        instance.add_dynamic_partitions("authors", ["ada", "bea"])
        yield instance


def create_run(
    dagster: dg.DagsterInstance, author: str, *, server: Path | None = None, **options: object
) -> str:
    """Create a run, executed by the code server at a socket, if one is given."""
    tags = {PARTITION: author}
    if server is not None:
        tags[GRPC_INFO_TAG] = json.dumps({"host": "localhost", "socket": str(server)})
    return create_run_for_test(dagster, job_name="import_posts", tags=tags, **options).run_id  # type: ignore[arg-type]


def list_run_ids(dagster: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in dagster.get_runs()}


def test_only_runs_that_quote_a_post_are_erased(
    home: Settings, dagster: dg.DagsterInstance
) -> None:
    plain_run, other_run = create_run(dagster, "ada"), create_run(dagster, "bea")
    create_run(dagster, "ada", run_config={"ops": {"o": {"config": TEXT}}})
    own_run_id = create_run(dagster, "ada")
    records = DagsterRecords(Installation.for_settings(home), dagster, own_run_id=own_run_id)

    assert records.erase(ERASED_POST) == 1
    assert list_run_ids(dagster) == {plain_run, other_run, own_run_id}
    assert set(dagster.get_dynamic_partitions("authors")) == {"ada", "bea"}
    assert records.erase(ERASED_POST) == 0


def test_all_runs_of_an_author_and_no_others_are_erased(
    home: Settings, dagster: dg.DagsterInstance
) -> None:
    create_run(dagster, "ada")
    other_run = create_run(dagster, "bea")
    for author in ("bea", "ada"):
        dagster.report_runless_asset_event(dg.AssetMaterialization("raw_posts", partition=author))
    records = DagsterRecords(Installation.for_settings(home), dagster)
    assert records.find_remaining(ERASED_AUTHOR)

    assert records.erase(ERASED_AUTHOR) == 5, "expected run, partition, two event rows and asset"

    assert list_run_ids(dagster) == {other_run}
    assert dg.AssetKey("raw_posts") in dagster.get_asset_keys(), "bea's asset was erased"
    assert dagster.get_dynamic_partitions("authors") == ["bea"]
    assert records.find_remaining(ERASED_AUTHOR) == []


@pytest.mark.parametrize("has_logs_elsewhere", [False, True])
def test_what_a_sensor_logged_about_an_author_is_erased_and_other_ticks_stay(
    home: Settings, tmp_path: Path, has_logs_elsewhere: bool
) -> None:
    """Of three authors one is forgotten; ticks and their logs name all of them."""
    logs = tmp_path / "logs" if has_logs_elsewhere else home.home / "dagster" / "logs"
    (home.home / "dagster").mkdir()
    (home.home / "dagster" / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\n"
        "compute_logs: {module: dagster._core.storage.local_compute_log_manager,"
        f" class: LocalComputeLogManager, config: {{base_dir: {logs}}}}}\n"
    )
    with dg.DagsterInstance.from_config(str(home.home / "dagster")) as dagster:
        for number, author in enumerate(("ada", "bea", "cleo")):
            log_key = ["__repository__", "quality_dropped", str(number)]
            with InstigationLogger(log_key, dagster) as log:
                log.info(f"no evidence of a fall for {author}, reason in authors/{author}.toml")
            dagster.create_tick(
                TickData(
                    *("origin", "quality_dropped", InstigatorType.SENSOR, TickStatus.SKIPPED),
                    timestamp=float(number + 1),
                    skip_reason="no author has one",
                    log_key=log_key,
                )
            )
        purged = home.home / "dagster" / "logs" / "__repository__" / "judges" / "9.err"
        purged.parent.mkdir(parents=True, exist_ok=True)
        purged.write_text('{"msg": "bea waits"}\n{"msg": "ada waits"}\n')
        records = DagsterRecords(Installation.for_settings(home), dagster)
        assert records.find_remaining(ERASED_AUTHOR)

        records.erase(ERASED_AUTHOR)

        assert records.find_remaining(ERASED_AUTHOR) == []
        assert purged.read_text() == '{"msg": "bea waits"}\n'
        remaining_logs = "".join(path.read_text() for path in logs.rglob("*.err"))
        assert [name in remaining_logs for name in ("ada", "bea", "cleo")] == [False, True, True]


def test_only_active_runs_of_the_author_are_ended(
    home: Settings, dagster: dg.DagsterInstance
) -> None:
    active_run, other_run = (create_run(dagster, slug, status=STARTED) for slug in ("ada", "bea"))
    own_run_id = create_run(dagster, "ada", status=STARTED)
    finished_run = create_run(dagster, "ada", status=dg.DagsterRunStatus.SUCCESS)
    records = DagsterRecords(Installation.for_settings(home), dagster, own_run_id=own_run_id)

    assert records.end_active_runs(ERASED_POST) == 1

    ended = [run.run_id for run in dagster.get_runs() if run.tags.get("twin/ended_by") == "forget"]
    assert ended == [active_run]
    statuses = {run.run_id: run.status for run in dagster.get_runs()}
    assert statuses == {
        active_run: dg.DagsterRunStatus.CANCELED,
        other_run: STARTED,
        own_run_id: STARTED,
        finished_run: dg.DagsterRunStatus.SUCCESS,
    }
    assert records.end_active_runs(ERASED_POST) == 0


def test_a_run_whose_code_server_was_killed_is_ended_and_a_busy_servers_is_an_error(
    home: Settings,
    dagster: dg.DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = DagsterRecords(Installation.for_settings(home), dagster)
    killed_run = create_run(dagster, "ada", status=STARTED, server=tmp_path / "nobody.sock")
    assert records.end_active_runs(ERASED_POST) == 1
    assert [run.status for run in dagster.get_runs()] == [dg.DagsterRunStatus.CANCELED], killed_run

    def time_out(*_: object) -> None:
        raise DagsterUserCodeUnreachableError("timed out due to taking longer than 60 seconds")

    path = tmp_path / "busy.sock"
    create_run(dagster, "ada", status=STARTED, server=path)
    monkeypatch.setattr(DagsterGrpcClient, "cancel_execution", time_out)
    with socket.socket(socket.AF_UNIX) as busy_server:
        busy_server.bind(str(path))
        busy_server.listen()
        with pytest.raises(TwinError, match="code server does not respond") as caught:
            records.end_active_runs(ERASED_POST)
    assert caught.value.next_step == "run `twin forget` again in a minute"


def test_a_run_that_does_not_end_is_an_error(
    home: Settings, dagster: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = DagsterRecords(Installation.for_settings(home), dagster)
    dead_run = create_run(dagster, "ada", status=STARTED)
    twin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("twin"), "__repository__")
    origin = RemoteJobOrigin(twin, "import_posts")
    queued_run = create_run(
        dagster, "ada", status=dg.DagsterRunStatus.QUEUED, remote_job_origin=origin
    )
    requests: list[str] = []
    monkeypatch.setattr(
        type(dagster.run_launcher), "terminate", lambda _, run_id: requests.append(run_id)
    )
    assert records.end_active_runs(ERASED_POST) == 2
    assert requests == [dead_run], "a queued run has no worker"
    statuses = {run.run_id: run.status for run in dagster.get_runs()}
    assert statuses == dict.fromkeys((dead_run, queued_run), dg.DagsterRunStatus.CANCELED)
    slow_run = create_run(dagster, "ada", status=STARTED)
    monkeypatch.setattr(type(dagster.run_launcher), "terminate", lambda *_: True)  # ignored

    def end_run(_: float) -> None:
        run = dagster.get_run_by_id(slow_run)
        assert run is not None
        dagster.report_run_canceled(run)

    with monkeypatch.context() as patched:
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=end_run)
        patched.setattr(dagster_records, "time", clock)
        assert records.end_active_runs(ERASED_POST) == 1, "the erasure did not wait for the run"
    create_run(dagster, "ada", status=STARTED)
    monkeypatch.setattr(dagster_records, "MAX_WORKING_S", 0.0)
    with pytest.raises(TwinError, match="still running after 0 s"):
        records.end_active_runs(ERASED_POST)


def test_records_outside_the_home_are_searched_by_row(home: Settings, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(tmp_path)) as dagster:
        records = DagsterRecords(Installation.for_settings(home), dagster)
        plain_run = create_run(dagster, "ada")
        assert (records.find_remaining(ERASED_POST), records.erase(ERASED_POST)) == ([], 0)
        create_run(dagster, "ada", run_config={"ops": {"o": {"config": TEXT}}})
        dagster.report_runless_asset_event(
            dg.AssetMaterialization("raw_posts", partition="ada", metadata={"said": TEXT})
        )
        dagster.report_runless_asset_event(dg.AssetMaterialization("raw_posts", partition="bea"))
        assert len(records.find_remaining(ERASED_POST)) > 1
        assert records.erase(ERASED_POST) > 1
        assert records.find_remaining(ERASED_POST) == []
        assert list_run_ids(dagster) == {plain_run}


class LeftoverStore:
    """A store that contains data until it has been erased `rounds` times."""

    def __init__(self, name: str, rounds: int, *, is_background: bool = False) -> None:
        self.name, self.rounds, self.is_background, self.erasures = (name, rounds, is_background, 0)

    def erase(self, target: ErasureTarget) -> int:
        self.erasures += 1
        return 1

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        return ["a", "b", "c", "d"] if self.erasures < self.rounds else []


def test_returning_data_is_erased_three_times_before_an_error(home: Settings) -> None:
    installation = Installation.for_settings(home)
    subject = ErasureSubject("author", "ada", "ada")
    number = journal.open_request(installation.state, subject, asked_by="test")
    clean, leftover = LeftoverStore("tables", 1), LeftoverStore("outbox", 3)
    background = LeftoverStore("traces", 9, is_background=True)
    stores: list[DataStore] = [clean, leftover, background]
    assert _erase_and_prove(installation, number, stores, ERASED_AUTHOR) == ["a", "b", "c", "d"]
    assert [store.erasures for store in (clean, leftover, background)] == [1, 3, 3]
    assert journal.read_completed_steps(installation.state, number) == {
        "tables": 1,
        "outbox": 3,
        "traces": 3,
    }
    with pytest.raises(ErasureIncompleteError) as error:
        _erase_and_prove(installation, number, [clean, LeftoverStore("files", 4)], ERASED_AUTHOR)
    assert error.value.found.endswith(
        "data that remains or has returned after 3 rounds: files: a, b, c"
    )
    assert clean.erasures == 1, "a completed step was repeated"
    installation.state.close()


def test_a_request_with_data_left_in_the_state_is_incomplete(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_author(home, Author("ada", "Ada Wright"))
    installation = Installation.for_settings(home)
    subject = ErasureSubject("reader", "", "0123456789abcdef")
    number = journal.open_request(installation.state, subject, asked_by="test")
    monkeypatch.setattr(StateStore, "find_remaining_in_file", lambda *_: ["ledger_scores"])
    with pytest.raises(ErasureIncompleteError, match="still contains the target in ledger_scores"):
        run_erasure(installation, number, dagster=DagsterRecords(installation, None))
    installation.state.close()


def test_a_forgotten_reader_may_return(home: Settings) -> None:
    write_author(home, Author("ada", "Ada Wright"))
    installation, reader = Installation.for_settings(home), "0123456789abcdef"
    now = datetime.now(UTC)

    def build_span(number: int, at: datetime) -> object:
        return make_span(number, reader=reader, question="What?", passage="x", chunk="c-9", at=at)

    outbox = Outbox(outbox_path(home))
    outbox.put_trace(encode_spans(build_span(1, now)))
    outbox.put_scores([make_vote(1, reader, 1.0)])
    number = journal.open_request(
        installation.state, ErasureSubject("reader", "", reader), asked_by="test"
    )

    result = run_erasure(installation, number, dagster=DagsterRecords(installation, None))

    before = read_certificate(result)
    assert before["places"]["outbox"] == 2
    assert not list((home.home / "forgetting").glob("marks-*")), "fingerprint files remain"
    assert (home.home / "forgetting").stat().st_mode & 0o7777 == 0o700
    assert (outbox.counts().traces, outbox.counts().scores) == (0, 0)
    outbox.put_trace(encode_spans(build_span(2, now - timedelta(minutes=1))))
    assert outbox.counts().traces == 0, "an answer from before the erasure was stored"
    outbox.put_trace(encode_spans(build_span(3, now + timedelta(minutes=1))))
    outbox.put_scores([make_vote(3, reader, 1.0)])
    assert (outbox.counts().traces, outbox.counts().scores) == (1, 1)
    outbox.close()
    assert journal.find_request(installation.state, number).done_at is not None
    repeated = run_erasure(installation, number, dagster=DagsterRecords(installation, None))
    assert (repeated, read_certificate(repeated)) == (result, before)
    installation.state.close()
