"""`twin logs`: ends of logs, a log that is followed through its rotation, and what exists."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from twin_cli.commands.logs import BLOCK, following, last_lines, run_logs

from twin_resources.errors import TwinError
from twin_resources.settings import Settings


@pytest.fixture
def logged(home: Settings) -> Settings:
    home.logs_dir.mkdir()
    (home.logs_dir / "gateway.log").write_text("one\ntwo\nthree: Größe\n", encoding="utf-8")
    (home.logs_dir / "gateway.log.1").write_text("older\n")
    (home.logs_dir / "models.log").write_text("up\n")
    return home


def printed(settings: Settings, program: str, *, lines: int = 50) -> str:
    pieces: list[str] = []
    assert run_logs(settings, program, lines=lines, follow=False, write=pieces.append) == 0
    return "".join(pieces)


def test_the_end_of_a_log(logged: Settings) -> None:
    assert printed(logged, "gateway", lines=2) == "two\nthree: Größe\n"
    assert printed(logged, "gateway") == "one\ntwo\nthree: Größe\n"
    assert printed(logged, "gateway", lines=0) == ""


def test_without_a_program_it_says_which_there_are(logged: Settings) -> None:
    *programs, hint = printed(logged, "").splitlines()
    assert [line.split()[0] for line in programs] == ["gateway", "models"]
    assert "twin open dagster" in hint


def test_what_is_not_there_is_named_with_what_is(logged: Settings, tmp_path: Path) -> None:
    with pytest.raises(TwinError, match=r"logs of gateway, models in .*name one of them"):
        printed(logged, "gatewy")
    with pytest.raises(TwinError, match="name one: gateway, models"):
        run_logs(logged, "", lines=5, follow=True, write=print)
    empty = logged.model_copy(update={"home": tmp_path / "empty"})
    with pytest.raises(TwinError, match="twin up"):
        printed(empty, "")


@pytest.mark.parametrize("lines", [1, 3, 5_000])
def test_lines_are_found_across_blocks(tmp_path: Path, lines: int) -> None:
    log = tmp_path / "long.log"
    whole = [f"{number} {'x' * 90}\n" for number in range(3 * BLOCK // 90)]
    log.write_text("".join(whole))
    text, place = last_lines(log, lines)
    assert text == "".join(whole[-lines:])
    assert place == log.stat().st_size


def test_a_log_is_followed_into_the_file_that_replaces_it(logged: Settings) -> None:
    log = logged.logs_dir / "gateway.log"
    _, place = last_lines(log, 0)
    followed: Iterator[str] = following(log, place, poll_s=0.01)
    with log.open("ab") as stream:
        stream.write(b"vier: Gr")
        stream.flush()
        assert next(followed) == "vier: Gr"
        stream.write("ö".encode()[:1])
        stream.flush()
        assert next(followed) == ""
        stream.write("ö".encode()[1:] + b"n\n")
        stream.flush()
        assert next(followed) == "ön\n"
        stream.write(b"its last words\n")
    log.rename(log.with_name("gateway.log.2"))
    log.write_text("begun anew\n")
    assert next(followed) == "its last words\n"
    assert next(followed) == "begun anew\n"
    log.write_text("cut\n")
    assert next(followed) == "cut\n"


def test_following_ends_with_ctrl_c_and_no_traceback(logged: Settings) -> None:
    command = [sys.executable, "-m", "twin_cli", "logs", "models", "-f", "-n", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ran:
        assert ran.stdout is not None
        assert ran.stdout.readline() == "up\n"
        with (logged.logs_dir / "models.log").open("a") as stream:
            stream.write("still up\n")
        assert ran.stdout.readline() == "still up\n"
        time.sleep(0.1)
        ran.send_signal(signal.SIGINT)
        out, error = ran.communicate(timeout=30)
    assert (ran.returncode, out, error) == (130, "", "")
