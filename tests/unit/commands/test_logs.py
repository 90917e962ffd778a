"""`twin logs`: the ends of logs, following a rotated log, and the list of logs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from twin_cli.commands.logs import run_logs

from twin_resources.errors import TwinError
from twin_resources.settings import Settings


@pytest.fixture
def logged(home: Settings) -> Settings:
    home.logs_dir.mkdir()
    (home.logs_dir / "gateway.log").write_text("one\ntwo\nthree: Größe\n", encoding="utf-8")
    (home.logs_dir / "gateway.log.1").write_text("older\n")
    (home.logs_dir / "models.log").write_text("up\n")
    return home


def listed(settings: Settings) -> str:
    pieces: list[str] = []
    assert run_logs(settings, "", lines=50, follow=False, write=pieces.append) == 0
    return "".join(pieces)


@pytest.mark.parametrize(
    ("lines", "shown"), [(2, "two\nthree: Größe\n"), (50, "one\ntwo\nthree: Größe\n"), (0, "")]
)
def test_the_end_of_a_log(
    logged: Settings, lines: int, shown: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_logs(logged, "gateway", lines=lines, follow=False, write=print) == 0
    assert capfd.readouterr().out == shown


def test_without_a_program_it_says_which_there_are(logged: Settings) -> None:
    *programs, hint = listed(logged).splitlines()
    assert [line.split()[0] for line in programs] == ["gateway", "models"]
    assert "twin open dagster" in hint


def test_what_is_not_there_is_named_with_what_is(logged: Settings, tmp_path: Path) -> None:
    with pytest.raises(TwinError, match=r"has logs of gateway, models.*name one of these"):
        run_logs(logged, "gatewy", lines=5, follow=False, write=print)
    with pytest.raises(TwinError, match="name one: gateway, models"):
        run_logs(logged, "", lines=5, follow=True, write=print)
    empty = logged.model_copy(update={"home": tmp_path / "empty"})
    with pytest.raises(TwinError, match="twin up"):
        listed(empty)


def test_a_log_is_followed_into_the_next_one_until_ctrl_c(logged: Settings) -> None:
    command = [sys.executable, "-m", "twin_cli", "logs", "models", "-f", "-n", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ran:
        assert ran.stdout is not None
        assert ran.stdout.readline() == "up\n"
        with (logged.logs_dir / "models.log").open("a") as stream:
            stream.write("still up\n")
        assert ran.stdout.readline() == "still up\n"
        log = logged.logs_dir / "models.log"
        log.rename(log.with_name("models.log.1"))
        log.write_text("restarted\n")
        assert ran.stdout.readline() == "restarted\n"
        ran.send_signal(signal.SIGINT)
        out, error = ran.communicate(timeout=120)
    assert (ran.returncode, out) == (-signal.SIGINT, "")  # a shell reports this as 130
    assert "Traceback" not in error  # `tail` prints the name of the file that it follows next
