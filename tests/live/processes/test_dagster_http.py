"""Test the client of Dagster with the real webserver, daemon and supervisor and small assets."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest
from rich.console import Console
from twin_cli.commands.author_progress import read_progress
from twin_cli.commands.outcome import REQUEST_SENSOR, OutcomeCode, wait_for_outcome
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.retrain_command import find_report_run, run_retrain
from twin_cli.commands.runs import follow_run, launch_or_join
from twin_cli.commands.services import wait_for_services
from twin_cli.commands.stopping import end_stack

from tests.conftest import ROOT
from tests.live.dagster_sensors import stop_sensor
from tests.live.processes.cross_origin_page import QUERY, cross_origin_page, owner_browser
from twin_resources.authors import Author, write_author
from twin_resources.dagster_runs import CODE_LOCATION, STATUSES_WITH_WORKER
from twin_resources.erasure.dagster_records import open_records
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.endpoints import Endpoints, write_endpoints
from twin_resources.processes.process_identity import find_marked_processes
from twin_resources.processes.programs import code_socket, wait_until
from twin_resources.processes.stack import Stack, start_stack, stop_stack
from twin_resources.processes.supervisor import Program
from twin_resources.quality.retraining import retrainings
from twin_resources.settings import Settings, load_secrets, load_settings
from twin_resources.statistics.retraining import TrainingFingerprint
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
Value = TypeVar("Value")
CONSENT = "2026-01-01: by mail"
DAGSTER_PAGES = "twin_resources.page.dagster_pages"


def make_dagster_programs(settings: Settings) -> Sequence[Program]:
    home = settings.home / "dagster"
    home.mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "deploy" / "local" / "dagster.yaml", home / "dagster.yaml")
    workspace, socket = home / "workspace.yaml", code_socket(settings)
    socket.parent.mkdir(parents=True, exist_ok=True)
    workspace.write_text(
        f"load_from:\n  - grpc_server: {{socket: {socket}, location_name: {CODE_LOCATION}}}\n"
    )
    definitions = str(Path(__file__).with_name("small_definitions.py"))
    server = ("dagster", "api", "grpc", "--socket", str(socket), "-f", definitions)
    options = ("-w", str(workspace), "-h", "127.0.0.1", "-p", str(settings.dagster_port))
    daemon = ("dagster._daemon", "run", "-w", str(workspace))
    return [
        Program("dagster-code", (sys.executable, "-m", *server), home),
        Program("dagster-webserver", (sys.executable, "-m", DAGSTER_PAGES, *options), home),
        # Started later: two processes that create Dagster's databases at the same time break them.
        Program("dagster-daemon", (sys.executable, "-m", *daemon), home, autostart=False),
    ]


def start(settings: Settings, *, with_daemon: bool = True) -> Stack:
    """Start a stack, and wait until its Dagster has loaded the code location."""
    stack = start_stack(settings, programs=make_dagster_programs)
    dagster = DagsterHTTP.for_home(stack.settings)
    wait_until(
        stack,
        lambda: dagster.is_up() and dagster.is_location_loaded(),
        program="dagster-webserver",
    )
    if with_daemon:
        stack.supervisor.start_program("dagster-daemon")
    return stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = load_settings(tmp_path_factory.mktemp("home"))
    try:
        yield start(settings)
    finally:
        stop_stack(settings)


@pytest.fixture
def dagster(stack: Stack, process_logs: Path) -> DagsterHTTP:
    for name in ("supervisor", "dagster-code", "dagster-webserver", "dagster-daemon"):
        (process_logs / f"{name}.log").symlink_to(stack.settings.logs_dir / f"{name}.log")
    return DagsterHTTP.for_home(stack.settings)


@pytest.fixture
def display() -> ProgressDisplay:
    return ProgressDisplay(Console(file=io.StringIO(), width=200), verbose=True)


def read_output(display: ProgressDisplay) -> str:
    assert isinstance(display.console.file, io.StringIO)
    return display.console.file.getvalue()


def wait_for_status(dagster: DagsterHTTP, run_id: str, statuses: Collection[str]) -> None:
    wait_for(lambda: dagster.read_run(run_id).status in statuses)


def wait_for(poll: Callable[[], Value]) -> Value:
    """Return the result of `poll` once it is true."""
    deadline = time.monotonic() + 120
    while not (value := poll()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return value


def launch(dagster: DagsterHTTP, job: str, author: str) -> str:
    """Add an author, and launch a job; return the run id."""
    dagster.add_author(author)
    run_id, _ = launch_or_join(dagster, job, author)
    return run_id


def test_a_cross_origin_page_starts_no_run(dagster: DagsterHTTP, stack: Stack) -> None:
    dagster.add_author("eve")
    with (
        owner_browser(stack.settings, dagster.url) as browser,
        cross_origin_page(dagster.url) as page,
    ):
        tab = browser.new_page()
        tab.goto(page)
        tab.wait_for_function("document.title !== ''", timeout=60_000)
        assert tab.title().split() == ["nothing"] * 6
    assert dagster.list_runs() == []
    # The same query starts a run when the owner's program sends it.
    assert dagster._query(QUERY, action="launch")["__typename"] == "LaunchRunSuccess"
    [run] = dagster.list_runs()
    wait_for_status(dagster, run.run_id, {"SUCCESS"})


def test_a_run_is_launched_followed_and_joined(
    dagster: DagsterHTTP, stack: Stack, display: ProgressDisplay
) -> None:
    dagster.add_author("jose")
    dagster.add_author("jose")
    run_id, is_new = launch_or_join(dagster, "retrain_twin", "jose")
    assert is_new
    assert launch_or_join(dagster, "retrain_twin", "jose") == (run_id, False)
    result = follow_run(dagster, run_id, display=display, title="train", stack=stack)
    assert result.succeeded
    assert result.run.tags["dagster/partition"] == "jose"
    assert not result.failed_checks
    assert "checkpoint done" in read_output(display)
    reports = [event.progress for event in dagster.events(run_id)[0] if event.progress]
    assert reports == [{"step": 1, "steps": 2, "loss": 2.0}, {"step": 2, "steps": 2, "loss": 1.0}]
    assert [run.run_id for run in dagster.list_runs(job="retrain_twin", author="jose")] == [run_id]


def test_simultaneous_commands_launch_one_run(dagster: DagsterHTTP, stack: Stack) -> None:
    dagster.add_author("both")
    with ThreadPoolExecutor(4) as threads:
        clients = [DagsterHTTP.for_home(stack.settings) for _ in range(4)]
        jobs, authors = repeat("retrain_twin"), repeat("both")
        launches = list(threads.map(launch_or_join, clients, jobs, authors))
    assert sorted(is_new for _, is_new in launches) == [False, False, False, True]
    assert {run_id for run_id, _ in launches} == {
        run.run_id for run in dagster.list_runs(job="retrain_twin", author="both")
    }


def test_a_run_is_followed_to_an_asset_and_then_to_its_end(
    dagster: DagsterHTTP, stack: Stack, display: ProgressDisplay
) -> None:
    run_id = launch(dagster, "retrain_twin", "twice")
    first_result = follow_run(
        dagster, run_id, display=display, title="train", stack=stack, until_asset="checkpoint"
    )
    assert first_result.succeeded
    assert "checkpoint" in first_result.asset_numbers
    result = follow_run(
        dagster, run_id, display=display, title="train", stack=stack, previous=first_result
    )
    assert result.run.status == "SUCCESS"
    assert not result.is_unfinished
    assert {"checkpoint", "released_model"} <= result.asset_numbers.keys()
    assert read_output(display).count("checkpoint done in") == 1
    assert read_output(display).count("released model done in") == 1


def test_a_failed_step_is_reported_with_its_first_cause(
    dagster: DagsterHTTP, stack: Stack, display: ProgressDisplay
) -> None:
    run_id = launch(dagster, "import_posts", "broken")
    result = follow_run(dagster, run_id, display=display, title="import", stack=stack)
    assert result.run.status == "FAILURE"
    assert not result.run.will_be_retried  # only a dead worker is retried
    assert any("no space left on device" in cause for cause in result.failures)


def test_a_failed_check_is_named(
    dagster: DagsterHTTP, stack: Stack, display: ProgressDisplay
) -> None:
    run_id = launch(dagster, "retrain_twin", "worse")
    result = follow_run(dagster, run_id, display=display, title="train", stack=stack)
    assert result.failed_checks == ("beats_base_model",)


def test_a_manual_move_is_recorded_as_a_materialization(dagster: DagsterHTTP, stack: Stack) -> None:
    dagster.report_materialization(
        "released_model", "jose", description="v1 retired → stable", metadata={"version": 1}
    )
    query = '{ assetOrError(assetKey: {path: ["released_model"]}) { ... on Asset { \
        assetMaterializations(limit: 1) { partition description } } } }'
    key = load_secrets(stack.settings).gateway_master_key
    headers = {"Authorization": f"Bearer {key}"}
    result = httpx.post(f"{dagster.url}/graphql", json={"query": query}, headers=headers).json()
    materialization = result["data"]["assetOrError"]["assetMaterializations"][0]
    assert materialization == {"partition": "jose", "description": "v1 retired → stable"}


def test_an_error_contains_dagsters_message(dagster: DagsterHTTP) -> None:
    with pytest.raises(TwinError, match="no_such_job"):
        dagster.launch("no_such_job", "jose")
    with pytest.raises(TwinError, match="RunNotFoundError"):
        dagster.read_run("00000000-0000-0000-0000-000000000000")


@pytest.mark.parametrize("victim", ["worker", "code server"])
def test_a_run_with_a_killed_worker_is_retried_and_the_retry_followed(
    dagster: DagsterHTTP, stack: Stack, display: ProgressDisplay, victim: str
) -> None:
    run_id = launch(dagster, "retrain_twin", "slow")
    wait_for_status(dagster, run_id, ["STARTED"])
    messages = " ".join(event.message for event in dagster.events(run_id)[0])
    worker = re.search(r"Started process for run \(pid: (\d+)\)", messages)
    assert worker is not None
    code_server = stack.supervisor.states()["dagster-code"].pid
    os.kill(int(worker[1]) if victim == "worker" else code_server, signal.SIGKILL)
    retry = wait_for(lambda: dagster.read_run(run_id).retry_run_id)
    assert retry != run_id
    wait_for_status(dagster, retry, ["STARTED"])  # `end_run` may not end a run that is starting
    dagster.end_run(retry)
    result = follow_run(dagster, run_id, display=display, title="train", stack=stack)
    assert result.run.run_id == retry
    assert result.run.status == "CANCELED"
    assert "worker died" in read_output(display)


def test_a_run_that_an_erasure_ended_is_restarted(
    dagster: DagsterHTTP, stack: Stack, display: ProgressDisplay
) -> None:
    run_id = launch(dagster, "retrain_twin", "slow")
    wait_for_status(dagster, run_id, ["STARTED"])
    target = ErasureTarget(ErasureSubject("post", "slow", "a-post"), authors=frozenset({"slow"}))
    with ThreadPoolExecutor(1) as threads:
        followed_run = threads.submit(
            follow_run, dagster, run_id, display=display, title="train", stack=stack
        )
        instance = Installation.for_settings(stack.settings)
        with open_records(instance) as records:
            assert records.end_active_runs(target) == 1
        instance.state.close()
        active = wait_for(
            lambda: [run for run in dagster.list_runs(author="slow") if not run.is_finished]
        )
        wait_for_status(dagster, active[0].run_id, ["STARTED"])
        dagster.end_run(active[0].run_id)
        result = followed_run.result(timeout=120)
    assert result.run.run_id == active[0].run_id != run_id
    assert (
        f"`twin forget` ended the run; it was restarted as {result.run.run_id[:8]}"
        in read_output(display)
    )
    second_result = follow_run(
        dagster, run_id, display=display, title="train", stack=stack, previous=result
    )
    assert second_result.run.run_id == result.run.run_id, "the run was restarted twice"


def test_a_retraining_is_requested_with_a_reason_and_refused_while_another_is_active(
    dagster: DagsterHTTP, stack: Stack, display: ProgressDisplay
) -> None:
    settings = stack.settings
    write_author(settings, Author("ada", "Ada", consent=CONSENT))
    dagster.add_author("ada")
    state = open_home_state(settings)
    with ThreadPoolExecutor(1) as threads:
        command = threads.submit(
            run_retrain, settings, author="Ada", reason="new posts ", wait=False, display=display
        )
        fulfil_request(state, dagster, "ada")
        assert command.result(timeout=120) == 0
    [run] = dagster.list_runs(job="retrain_twin", author="ada")
    assert run.tags["twin/reason"] == "new posts"
    assert run.tags["twin/asked_by"].startswith("command:")
    progress = read_progress(settings, "ada")
    assert (progress.training, progress.run_id) == ("launched", run.run_id)
    assert "status --wait" in read_output(display)

    def request_again() -> None:
        run_retrain(settings, author="ada", reason="once more", wait=False, display=display)

    with pytest.raises(TwinError, match=r"is (queued|starting|started) .new posts.|one is pending"):
        request_again()
    wait_for_status(dagster, run.run_id, ["SUCCESS"])
    with pytest.raises(TwinError, match="one is pending"):
        request_again()  # the outcome of the first is not stored yet
    with state.read_transaction() as connection:
        assert retrainings.open_requests(connection) == {}
    state.close()


def test_retrain_waits_for_the_run(
    dagster: DagsterHTTP, stack: Stack, display: ProgressDisplay
) -> None:
    settings = stack.settings
    write_author(settings, Author("cleo", "Cleo", consent=CONSENT))
    dagster.add_author("cleo")
    write_endpoints(
        Endpoints(
            home=str(settings.home), dagster=dagster.url, gateway="", gateway_key="", models=(),
            traces="", traces_public_key="", traces_secret_key="", logs="", pids={},
        )
    )  # fmt: skip
    state = open_home_state(settings)
    with ThreadPoolExecutor(1) as threads:
        command = threads.submit(
            run_retrain, settings, author="cleo", reason="a recipe", wait=True, display=display
        )
        fulfil_request(state, dagster, "cleo")
        code = command.result(timeout=120)
    state.close()
    assert code == OutcomeCode.FAILED  # the small steps succeed but store no verdict
    assert "checkpoint done" in read_output(display)
    assert read_progress(settings, "cleo").training == "finished"


@pytest.mark.parametrize("waits", [False, True])
def test_a_retraining_follows_the_report_that_still_runs(
    dagster: DagsterHTTP, stack: Stack, display: ProgressDisplay, waits: bool
) -> None:
    """What `twin retrain` and then `twin status --wait` do after the release of a first version."""
    settings = stack.settings
    slug = "fay" if waits else "dan"
    write_author(settings, Author(slug, slug, consent=CONSENT))
    report = settings.home / f"report of {slug} runs"
    report.touch()
    first_run_id = launch(dagster, "retrain_twin", slug)
    wait_for(lambda: find_report_run(dagster, slug))
    state = open_home_state(settings)
    with ThreadPoolExecutor(1) as threads:
        if waits:
            command = threads.submit(
                run_retrain, settings, author=slug, reason="more", wait=True, display=display
            )
        else:
            arguments = {"author": slug, "reason": "more", "wait": False, "display": display}
            assert run_retrain(settings, **arguments) == 0
            assert "status --wait" in read_output(display)
            with pytest.raises(TwinError, match=r"request .* is waiting to start \(more\)"):
                run_retrain(settings, **arguments)
            command = threads.submit(wait_for_outcome, stack, slug, display=display, timeout_s=None)
        wait_for(lambda: f"run {first_run_id[:8]}" in read_output(display))
        time.sleep(2.0)
        assert not command.done()
        assert len(dagster.list_runs(job="retrain_twin", author=slug)) == 1
        report.unlink()
        wait_for_status(dagster, first_run_id, ["SUCCESS"])
        time.sleep(2.0)
        assert not command.done(), "it waited for the report alone"
        fulfil_request(state, dagster, slug)
        result = command.result(timeout=120)
    state.close()
    code = result if isinstance(result, int) else result.code
    assert code == OutcomeCode.FAILED  # the small steps succeed but store no verdict
    newest_run, first_run = dagster.list_runs(job="retrain_twin", author=slug)
    assert first_run.run_id == first_run_id
    assert newest_run.tags["twin/reason"] == "more"


def fulfil_request(state: State, dagster: DagsterHTTP, author: str) -> None:
    """Launch a run as the sensor `retraining_requested` does (tested in tests/graph/retraining)."""
    key = f"by_hand:{author}:1"
    deadline = time.monotonic() + 60
    while True:
        with state.transaction() as connection:
            requests = retrainings.open_requests(connection).get(author, [])
            if requests:
                tags = {"twin/reason": requests[0].reason, "twin/asked_by": requests[0].asked_by}
                assert retrainings.add_retraining(
                    connection, run_key=key, author=author, cause="by_hand", tags=tags,
                    fingerprint=TrainingFingerprint("", ""), now=time.time(),
                )  # fmt: skip
                retrainings.mark_fulfilled(connection, requests, key)
            pending = [
                retraining
                for retraining in retrainings.unfinished_retrainings(connection)
                if retraining.run_key == key
            ]
        if pending:
            dagster.launch("retrain_twin", author, tags=pending[0].launch.tags)
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_retrain_fails_at_once_while_its_sensor_is_off(
    dagster: DagsterHTTP, stack: Stack, display: ProgressDisplay
) -> None:
    stop_sensor(dagster.url, REQUEST_SENSOR, key=load_secrets(stack.settings).gateway_master_key)
    write_author(stack.settings, Author("bo", "Bo", consent=CONSENT))
    dagster.add_author("bo")
    with pytest.raises(TwinError, match=rf"the sensor {REQUEST_SENSOR}, which starts it, is off"):
        run_retrain(stack.settings, author="bo", reason="a wish", wait=False, display=display)


def test_ending_the_stack_cancels_the_runs_first(
    dagster: DagsterHTTP, stack: Stack, display: ProgressDisplay
) -> None:
    """This test must run last, because it ends the stack of the others."""
    run_id = launch(dagster, "retrain_twin", "slow")
    wait_for_status(dagster, run_id, STATUSES_WITH_WORKER)
    assert end_stack(stack.settings, log=display.log).was_running
    assert f"run {run_id[:8]} (retrain_twin) canceled" in read_output(display)
    assert not dagster.is_up()


def test_the_next_start_cancels_a_run_that_a_crash_interrupted(
    tmp_path: Path, process_logs: Path, display: ProgressDisplay
) -> None:
    settings = load_settings(tmp_path / "home")
    settings.home.mkdir()
    settings.logs_dir.symlink_to(process_logs)
    try:
        crashed_stack = start(settings)
        dagster = DagsterHTTP.for_home(crashed_stack.settings)
        run_id = launch(dagster, "retrain_twin", "slow")
        wait_for_status(dagster, run_id, ["STARTED"])
        processes = find_marked_processes(crashed_stack.record.instance)
        for process in processes:
            process.kill()  # all at once, as in a power cut
        psutil.wait_procs(processes, timeout=20)
        # The restarting command is killed before it starts the daemon; the next command attaches.
        restarted_stack = start(settings, with_daemon=False)
        assert restarted_stack.record.ports == crashed_stack.record.ports
        assert dagster.read_run(run_id).status == "STARTED"
        wait_for_services(restarted_stack, ("dagster-webserver",), display=display)
        assert dagster.read_run(run_id).status == "CANCELED"
        assert "was interrupted" in read_output(display)
        assert restarted_stack.supervisor.states()["dagster-daemon"].is_up
        run_id, _ = launch_or_join(dagster, "retrain_twin", "slow")
        wait_for_status(dagster, run_id, ["STARTED"])
        wait_for_services(restarted_stack, ("dagster-webserver",), display=display)
        assert dagster.read_run(run_id).status == "STARTED"
    finally:
        stop_stack(settings)
