"""Test `twin logs`: the last lines of a log, following a rotated log, and the list of logs."""

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
def log_home(home: Settings) -> Settings:
    home.logs_dir.mkdir()
    (home.logs_dir / "gateway.log").write_text("one\ntwo\nthree: Größe\n", encoding="utf-8")
    (home.logs_dir / "gateway.log.1").write_text("older\n")
    (home.logs_dir / "models.log").write_text("up\n")
    return home


def list_logs(settings: Settings) -> str:
    lines: list[str] = []
    assert run_logs(settings, "", line_count=50, follow=False, log=lines.append) == 0
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("line_count", "expected"),
    [(2, "two\nthree: Größe\n"), (50, "one\ntwo\nthree: Größe\n"), (0, "")],
)
def test_the_last_lines_of_a_log_are_printed(
    log_home: Settings, line_count: int, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_logs(log_home, "gateway", line_count=line_count, follow=False, log=print) == 0
    assert capfd.readouterr().out == expected


def test_without_a_program_the_logs_are_listed(log_home: Settings) -> None:
    *programs, hint = list_logs(log_home).splitlines()
    assert [line.split()[0] for line in programs] == ["gateway", "models"]
    assert "twin open dagster" in hint


def test_a_missing_log_is_reported_with_the_existing_logs(
    log_home: Settings, tmp_path: Path
) -> None:
    with pytest.raises(TwinError, match=r"has logs of gateway, models.*name one of these"):
        run_logs(log_home, "gatewy", line_count=5, follow=False, log=print)
    with pytest.raises(TwinError, match="name one: gateway, models"):
        run_logs(log_home, "", line_count=5, follow=True, log=print)
    empty_home = log_home.model_copy(update={"home": tmp_path / "empty"})
    with pytest.raises(TwinError, match="twin up"):
        list_logs(empty_home)


def test_a_log_is_followed_through_a_rotation_until_ctrl_c(log_home: Settings) -> None:
    command = [sys.executable, "-m", "twin_cli", "logs", "models", "-f", "-n", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        with (log_home.logs_dir / "models.log").open("a") as stream:
            stream.write("still up\n")
        assert process.stdout.readline() == "still up\n"
        log = log_home.logs_dir / "models.log"
        log.rename(log.with_name("models.log.1"))
        log.write_text("restarted\n")
        assert process.stdout.readline() == "restarted\n"
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=120)
    assert (process.returncode, output) == (130, "")
    assert "Traceback" not in error  # `tail` prints the name of the file that it follows next
