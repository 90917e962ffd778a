"""Test starting, stopping and recovering a stack of small programs under the real supervisord."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from twin_cli.commands import services, stopping
from twin_cli.commands.doctor import open_home, run_check
from twin_cli.commands.logs import run_logs
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.status import collect_status

from tests.free_ports import free_port
from tests.small_disk import small_disk
from twin_resources.errors import TwinError
from twin_resources.processes.ports import is_listening
from twin_resources.processes.process_identity import (
    ProcessIdentity,
    find_marked_processes,
    find_process,
    identify,
)
from twin_resources.processes.programs import (
    StackEndedError,
    ensure_alive,
    ensure_program_works,
    find_working_folder,
    wait_until,
)
from twin_resources.processes.stack import (
    Stack,
    _write_record,
    find_stack,
    read_record,
    start_stack,
    stop_stack,
)
from twin_resources.processes.supervisor import Program, read_tail
from twin_resources.settings import Settings

pytestmark = pytest.mark.live

# Starts an orphaned child in another process group and session, as a trainer's launcher does. The
# child listens on a port.
ESCAPING_PROGRAM = (
    "import os, socket, sys, time; pid = os.fork(); "
    "(os.setsid(), os.fork() and os._exit(0)) if pid == 0 else None; "
    "server = socket.create_server(('127.0.0.1', int(sys.argv[1]))) if pid == 0 else None; "
    "time.sleep(600)"
)
# Has a child that listens on the port, in the program's own group or in another session; the latter
# ends itself with its parent. Neither child can be told anything by a killed parent.
CHILD_CODE = (
    "import socket, sys, time; "
    "from twin_resources.processes.parent_death import end_with_parent; "
    "end_with_parent() if sys.argv[2] == 'session' else None; "
    "server = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
)
PARENT_CODE = (
    "import subprocess, sys; command = [sys.executable, '-c', *sys.argv[1:]]; "
    "subprocess.run(command, check=True, start_new_session=sys.argv[3] == 'session')"
)

SLEEP_COMMAND = (sys.executable, "-c", "import sys, time; time.sleep(float(sys.argv[1]))")


@pytest.fixture
def settings(home: Settings, process_logs: Path) -> Iterator[Settings]:
    home.logs_dir.symlink_to(process_logs)
    ports = {f"{name}_port": free_port() for name in ("gateway", "dagster", "traces")}
    settings = home.model_copy(update=ports)
    yield settings
    stop_stack(settings)


def make_programs(settings: Settings) -> Sequence[Program]:
    web = (sys.executable, "-m", "http.server", str(settings.gateway_port), "--bind", "127.0.0.1")
    return [
        Program("web", web, settings.home, start_s=0),
        Program("trainer", (sys.executable, "-c", ESCAPING_PROGRAM, str(settings.dagster_port)),
                settings.home, start_s=0),
        Program("later", (sys.executable, "-c", "import time; time.sleep(600)"), settings.home,
                autostart=False, start_s=0),
    ]  # fmt: skip


def eventually(is_true: Callable[[], bool]) -> bool:
    """Wait until a condition is true; return False if it is not true within three minutes."""
    deadline = time.monotonic() + 180
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_complete(stack: Stack) -> bool:
    """Return whether supervisor, web, trainer and its orphan are running, and web is serving."""
    is_serving = "Serving" in read_tail(stack.supervisor.logs / "web.log")
    return is_serving and len(find_marked_processes(stack.record.instance)) == 4


@pytest.fixture
def unrelated_process() -> Iterator[subprocess.Popen[bytes]]:
    """Run a similar process of the same user that does not belong to the stack."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env=os.environ | {"TWIN_INSTANCE": "of-another-stack", "TWIN_HOME": "/elsewhere"},
    )
    yield process
    process.kill()
    process.wait()


def test_stop_ends_all_processes_of_the_stack_and_no_others(
    settings: Settings, unrelated_process: subprocess.Popen[bytes]
) -> None:
    stack = start_stack(settings, programs=make_programs)
    assert eventually(lambda: is_complete(stack))
    running_stack = find_stack(settings)
    assert running_stack is not None
    assert running_stack.record == stack.record
    pids = stack.pids()
    assert set(pids) == {"supervisor", "web", "trainer"}
    stopped = stop_stack(settings)
    assert stopped.was_running
    assert find_marked_processes(stack.record.instance) == []
    assert [name for name, identity in pids.items() if find_process(identity)] == []
    assert unrelated_process.poll() is None
    assert find_stack(settings) is None
    assert not stop_stack(settings).was_running


def test_a_program_starts_on_request_and_is_restarted_after_a_kill(settings: Settings) -> None:
    stack = start_stack(settings, programs=make_programs)
    assert stack.supervisor.states()["later"].state == "STOPPED"
    stack.supervisor.start_program("later")
    stack.supervisor.start_program("later")
    assert eventually(lambda: stack.supervisor.states()["later"].state == "RUNNING")
    pid = stack.supervisor.states()["later"].pid
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: stack.supervisor.states()["later"].pid not in {0, pid})


@pytest.mark.parametrize("place", ["group", "session"])
def test_the_successor_of_a_killed_program_gets_its_port(settings: Settings, place: str) -> None:
    port = str(settings.gateway_port)
    arguments = (sys.executable, "-c", PARENT_CODE, CHILD_CODE, port, place)

    def make_parent(settings: Settings) -> Sequence[Program]:
        return [Program("gateway", arguments, find_working_folder(), start_s=1)]

    stack = start_stack(settings, programs=make_parent)
    assert eventually(lambda: is_listening(settings.host, settings.gateway_port))
    parent = psutil.Process(stack.supervisor.states()["gateway"].pid)
    [child] = parent.children()
    parent.kill()
    assert eventually(lambda: stack.supervisor.states()["gateway"].pid not in {0, parent.pid})
    assert eventually(lambda: is_listening(settings.host, settings.gateway_port))
    # A zombie has ended; when it is reaped is the machine's affair.
    assert child.pid not in {item.pid for item in find_marked_processes(stack.record.instance)}
    log = (stack.supervisor.logs / "supervisor.log").read_text()
    assert log.count("exited: gateway") == 1, "the successor failed, because its port was in use"

    os.kill(stack.identity.pid, signal.SIGKILL)
    os.waitpid(stack.identity.pid, 0)
    assert eventually(lambda: not is_listening(settings.host, settings.gateway_port))
    survivors = find_marked_processes(stack.record.instance)
    # A child in the group that does not watch its parent is the next start's to end.
    assert len(survivors) == (1 if place == "group" else 0)


def test_a_second_start_is_refused_and_the_next_stack_keeps_the_ports(settings: Settings) -> None:
    stack = start_stack(settings, programs=make_programs)
    with pytest.raises(TwinError, match="already running"):
        start_stack(settings, programs=make_programs)
    stop_stack(settings)
    other_settings = settings.model_copy(update={"gateway_port": 4000})
    second = start_stack(other_settings, programs=make_programs)
    assert second.record.ports == stack.record.ports
    assert second.record.instance != stack.record.instance


def test_a_start_after_a_crash_ends_the_remaining_processes(settings: Settings) -> None:
    crashed_stack = start_stack(settings, programs=make_programs)
    assert eventually(lambda: is_complete(crashed_stack))
    os.kill(crashed_stack.identity.pid, signal.SIGKILL)
    os.waitpid(crashed_stack.identity.pid, 0)
    assert find_stack(settings) is None
    with pytest.raises(StackEndedError, match="died"):
        ensure_alive(crashed_stack)
    assert eventually(lambda: not is_listening(settings.host, settings.gateway_port))
    remaining = find_marked_processes(crashed_stack.record.instance)
    assert len(remaining) == 1, "only the process in a session of its own outlives the supervisor"
    lines: list[str] = []
    stack = start_stack(settings, programs=make_programs, report=lines.append)
    assert find_marked_processes(crashed_stack.record.instance) == []
    assert any("ended without `twin stop`" in line for line in lines)
    assert any("1 process" in line for line in lines)
    assert eventually(lambda: stack.supervisor.states()["web"].state == "RUNNING")


def test_a_query_during_a_stop_reports_the_stop(settings: Settings) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"

    def make_stubborn_program(_settings: Settings) -> Sequence[Program]:
        return [Program("web", (sys.executable, "-c", code), Path("/"), start_s=2)]

    stack = start_stack(settings, programs=make_stubborn_program)
    assert eventually(lambda: stack.supervisor.states()["web"].state == "RUNNING")
    with ThreadPoolExecutor(1) as threads:
        stop = threads.submit(stop_stack, settings)
        message = ""
        while not message and not stop.done():
            try:
                stack.supervisor.states()
            except TwinError as error:
                message = error.found
        assert stop.result().was_running
    assert message == "the stack is being stopped"


def test_the_status_of_a_host_without_a_stack_lists_its_roles(settings: Settings) -> None:
    assert not collect_status(settings).running
    role = subprocess.Popen(
        [sys.executable, "-m", "twin_resources.observability.langfuse.relay"],
        env=os.environ | {"TWIN_HOME": str(settings.home)},
    )
    try:
        assert eventually(lambda: collect_status(settings).running)
        status = collect_status(settings)
        assert [(program.name, program.pid) for program in status.programs] == [("relay", role.pid)]
        assert (status.crashed, status.urls) == (False, {})
    finally:
        role.kill()
        role.wait()


def test_a_full_disk_does_not_end_the_supervisor(home: Settings, tmp_path: Path) -> None:
    """A failed write to its log used to end the supervisor and leave its programs unsupervised."""
    code = "import time; [print(number, 'x' * 500, flush=True) or time.sleep(.01) for number in"
    code += " range(10**6)]"
    with small_disk(tmp_path / "small disk", megabytes=4) as disk:
        settings = home.model_copy(update={"home": disk.path / "home"})
        command = (sys.executable, "-c", code)
        stack = start_stack(settings, programs=lambda _: [Program("talks", command, Path("/"))])
        log = stack.supervisor.logs / "talks.log"
        try:
            assert eventually(lambda: log.exists() and log.stat().st_size > 0)
            disk.fill()
            pid, full_size = stack.supervisor.states()["talks"].pid, log.stat().st_size
            time.sleep(3)
            os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: stack.supervisor.states()["talks"].pid not in {0, pid})
            assert stack.is_alive()
            disk.make_room()
            assert eventually(lambda: log.stat().st_size > full_size + 4096), (
                "it does not log again"
            )
        finally:
            stop_stack(settings)


def test_a_recorded_pid_of_another_process_is_neither_used_nor_ended(
    settings: Settings, unrelated_process: subprocess.Popen[bytes]
) -> None:
    stack = start_stack(settings, programs=make_programs)
    stop_stack(settings)
    identity = identify(unrelated_process.pid)
    assert identity is not None
    earlier = ProcessIdentity(identity.pid, identity.started - 3600)
    record = read_record(settings)
    assert record is not None
    _write_record(settings, replace(record, supervisor=earlier))
    assert find_stack(settings) is None
    assert not stop_stack(settings).was_running
    assert unrelated_process.poll() is None
    assert stack.record.instance == record.instance


def test_waiting_ends_when_another_command_stops_the_stack(settings: Settings) -> None:
    stack = start_stack(settings, programs=make_programs)
    stop_stack(settings)
    with pytest.raises(StackEndedError, match="twin stop"):
        wait_until(stack, lambda: False, program="web")


def test_waiting_continues_while_a_program_works_and_ends_when_it_is_idle(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no limit for a start that makes progress, because a busy machine is slow."""
    monkeypatch.setattr("twin_resources.processes.program_progress.MAX_IDLE_S", 2)
    code = (
        "import sys, time; ends = time.time() + 6; all(time.time() < ends for _ in iter(int, 1)); "
        "open(sys.argv[1], 'w').close(); time.sleep(600)"
    )
    ready = settings.home / "ready"

    def make_slow_program(_settings: Settings) -> Sequence[Program]:
        return [Program("models", (sys.executable, "-c", code, str(ready)), Path("/"), start_s=0)]

    stack = start_stack(settings, programs=make_slow_program)
    assert wait_until(stack, ready.exists, program="models")
    with pytest.raises(TwinError, match="of them idle"):
        wait_until(stack, lambda: False, program="models")


def test_of_two_simultaneous_starts_one_starts_the_stack_and_the_other_attaches(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "prepare_programs", make_programs)

    def start(_number: int) -> tuple[Stack, bool]:
        return services.start_or_attach(settings, display=ProgressDisplay(), requested_ports=())

    with ThreadPoolExecutor(2) as threads:
        (first, is_first_new), (second, is_second_new) = threads.map(start, range(2))
    assert {is_first_new, is_second_new} == {True, False}
    assert first.identity == second.identity


# Holds the lock of a home, as a command that starts a stack does, and works or sleeps meanwhile.
LOCK_HOLDER = """
import sys, time
from pathlib import Path
from twin_resources.processes.stack import _hold_start_stop_lock
from twin_resources.settings import load_settings
with _hold_start_stop_lock(load_settings(Path(sys.argv[1])), report=print):
    print("held", flush=True)
    ends = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < ends:
        time.sleep(600) if sys.argv[2] == "sleeps" else None
"""


@pytest.mark.parametrize("holder", ["works", "sleeps"])
def test_stop_waits_for_another_command_while_it_works(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    monkeypatch.setattr("twin_resources.processes.program_progress.MAX_IDLE_S", 1)
    command = [sys.executable, "-c", LOCK_HOLDER, str(settings.home), holder, "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            if holder == "works":
                assert not stop_stack(settings).was_running
                assert process.wait() == 0, "stop did not wait"
            else:
                with pytest.raises(
                    TwinError, match=rf"process {process.pid}\) is doing this: not done"
                ):
                    stop_stack(settings)
        finally:
            process.kill()


SILENT_SERVER = (
    "import socket, sys, time; "
    "server = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"
)


def test_a_webserver_that_does_not_respond_does_not_prevent_the_end_of_the_stack(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "MAX_IDLE_S", 2)
    monkeypatch.setattr(stopping, "WEBSERVER_TIMEOUT_S", 0.5)
    command = (sys.executable, "-c", SILENT_SERVER, str(settings.dagster_port))
    start_stack(settings, programs=lambda _: [Program("dagster-webserver", command, settings.home)])
    assert eventually(lambda: is_listening(settings.host, settings.dagster_port))
    lines: list[str] = []
    assert stopping.end_stack(settings, log=lines.append).was_running
    assert lines[0] == "waiting for Dagster to end its runs cleanly"
    assert any("could not be ended cleanly" in line and "does not answer" in line for line in lines)


def test_doctor_and_logs_name_the_program_that_does_not_start(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    def make_test_programs(settings: Settings) -> Sequence[Program]:
        web, *_ = make_programs(settings)
        code = "raise SystemExit('no such model: x')"
        failing = Program("models", (sys.executable, "-c", code), Path("/"), retries=0, start_s=1)
        chat = Program("chat", SLEEP_COMMAND, settings.home, autostart=False)
        # ends twice at once, and then is "starting" for an hour
        again = (
            "import pathlib, sys, time; tries = pathlib.Path(sys.argv[1]); "
            "tries.write_text(tries.read_text() + '.' if tries.exists() else '.'); "
            "time.sleep(600) if len(tries.read_text()) > 2 else sys.exit('the port is in use')"
        )
        command = (sys.executable, "-c", again, str(settings.home / "tries"))
        repeated = Program("relay", command, settings.home, start_s=3600)
        return [web, failing, repeated, chat]

    stack = start_stack(settings, programs=make_test_programs)
    assert eventually(lambda: stack.supervisor.states()["models"].state == "FATAL")
    assert eventually(lambda: "Serving" in read_tail(stack.supervisor.logs / "web.log"))
    assert eventually(lambda: (settings.home / "tries").read_text() == "...")
    findings = run_check("stack", open_home(settings))
    models, relay, summary = sorted(findings, key=lambda finding: finding.found)
    assert [models.verdict, relay.verdict, summary.verdict] == ["fail", "fail", "ok"]
    assert models.found.startswith("models: FATAL")
    assert "no such model: x" in models.found
    assert "`twin logs models`" in models.remedy
    assert relay.found.startswith("relay: STARTING again after exit status 1")
    assert "the port is in use" in relay.found
    assert summary.found.startswith("web running"), "chat only starts on request"
    assert run_logs(settings, "models", line_count=1, follow=False, log=print) == 0
    assert capfd.readouterr().out == "no such model: x\n"


def test_a_program_that_exits_is_reported_at_once_with_its_output(settings: Settings) -> None:
    """It is reported at the first exit, not after nine attempts."""

    def make_test_programs(settings: Settings) -> Sequence[Program]:
        # long enough to count as started, like a page that fails after importing for five seconds
        code = "import time; time.sleep(2); raise SystemExit('No module named itsdangerous')"
        failing = Program("chat", (sys.executable, "-c", code), settings.home, start_s=1)
        return [failing, Program("web", (*SLEEP_COMMAND, "60"), settings.home, start_s=0)]

    stack = start_stack(settings, programs=make_test_programs)
    with pytest.raises(TwinError, match="exit status 1") as error:
        wait_until(stack, lambda: False, program="chat")
    assert "No module named itsdangerous" in error.value.found
    assert "chat.log" in error.value.next_step
    by_name = {program.name: program for program in collect_status(settings).programs}
    assert by_name["chat"].state not in {"RUNNING", "STARTING"}
    assert "(exit status 1)" in by_name["chat"].exited
    assert (by_name["web"].state, by_name["web"].exited) == ("RUNNING", "")
    stack.supervisor.stop_program("chat")
    states = [stack.supervisor.states()["chat"].state for _ in range(25) if not time.sleep(0.1)]
    assert set(states) == {"STOPPED"}


def test_waiting_continues_with_the_next_process_of_a_killed_program(settings: Settings) -> None:
    stack = start_stack(settings, programs=make_programs)
    assert eventually(lambda: stack.supervisor.states()["web"].state == "RUNNING")
    first = stack.supervisor.states()["web"].pid

    def is_another() -> bool:
        pid = stack.supervisor.states()["web"].pid
        if pid == first:
            os.kill(first, signal.SIGKILL)
        return pid not in {0, first}

    wait_until(stack, is_another, program="web")
    assert stack.supervisor.last_exit("web") == "terminated by SIGKILL"


def test_a_program_that_the_supervisor_gave_up_on_is_reported(settings: Settings) -> None:
    """A queued run waits for the daemon, so a daemon that cannot start is reported."""

    def make_test_programs(settings: Settings) -> Sequence[Program]:
        command = (sys.executable, "-c", "raise SystemExit('more than one head present')")
        return [Program("dagster-daemon", command, settings.home, retries=0, start_s=1)]

    stack = start_stack(settings, programs=make_test_programs)
    ensure_program_works(stack, "gateway")  # not in this stack: no error

    def is_given_up() -> bool:
        return stack.supervisor.states()["dagster-daemon"].state == "FATAL"

    assert eventually(is_given_up)
    with pytest.raises(TwinError, match="more than one head present") as error:
        ensure_program_works(stack, "dagster-daemon")
    assert "dagster-daemon.log" in error.value.next_step


def test_an_interrupted_start_leaves_no_process(settings: Settings) -> None:
    """The interrupt arrives after the supervisor has started and before it first responds."""
    code = (
        "import sys; from pathlib import Path; from twin_resources.settings import load_settings; "
        "from twin_resources.processes.stack import start_stack; "
        "from twin_resources.processes.supervisor import Program, Supervisor; import time; "
        "Supervisor.is_responding = lambda self: (print('up', flush=True), time.sleep(60))[0]; "
        "start_stack(load_settings(), programs=lambda s: [Program('p', (sys.executable, '-c', "
        "'import time; time.sleep(600)'), Path('/'))])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    record = read_record(settings)
    assert record is not None
    assert eventually(lambda: len(find_marked_processes(record.instance)) == 2)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert find_marked_processes(record.instance) == []


def test_children_do_not_inherit_unrelated_keys(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-found")
    monkeypatch.setenv("XYZ_TOKEN", "t")
    stack = start_stack(settings, programs=make_programs)
    assert eventually(lambda: is_complete(stack))
    for process in find_marked_processes(stack.record.instance):
        environment = psutil.Process(process.pid).environ()
        assert "OPENAI_API_KEY" not in environment
        assert "XYZ_TOKEN" not in environment
        assert environment["DO_NOT_TRACK"] == "1"


def test_a_start_removes_other_users_permissions_from_the_home(
    home: Settings, process_logs: Path
) -> None:
    """The home may have been created manually or by an earlier release."""
    settings = home.model_copy(
        update={f"{name}_port": free_port() for name in ("gateway", "dagster", "traces")}
    )
    home.home.chmod(0o755)
    for folder in (home.logs_dir, home.home / "dagster"):
        folder.mkdir(mode=0o755)
    readable = [
        *(home.home / "state.sqlite", home.home / "state.sqlite-wal", home.logs_dir / "old.log")
    ]
    for file in readable:
        file.touch()
        file.chmod(0o644)
    lines: list[str] = []
    try:
        start_stack(settings, programs=make_programs, report=lines.append)
    finally:
        stop_stack(settings)
    paths = [*home.home.rglob("*.log"), *readable]
    assert len(paths) > len(readable)
    assert [path.name for path in paths if path.exists() and path.stat().st_mode & 0o077] == []
    folders = (home.home, home.logs_dir, home.home / "dagster", home.home / "supervisor")
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}
    assert not [line for line in lines if "other users can read" in line]
    (process_logs / "made").write_text("\n".join(map(str, paths)))
