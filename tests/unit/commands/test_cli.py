"""Test the command line as a process: speed, exit codes, and errors without a traceback."""

from __future__ import annotations

import errno
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from twin_cli import running as cli
from twin_cli.arguments import DECLARED_ARGUMENTS, INJECTED_ARGUMENTS, load_command_function

from tests.unit.commands.cpu_ratio import measure_cpu_ratio
from twin_resources.settings import Settings

HEAVY_LIBRARIES = [
    "httpx", "dagster", "twin_assets", "torch", "litellm", "lancedb", "lance", "openvino", "polars",
    "sqlalchemy", "openai",
]  # fmt: skip


def run_twin(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twin_cli", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environ,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", ["--help", "status"])
def test_help_and_status_import_no_heavy_library_and_start_fast(
    command: str, home: Settings
) -> None:
    code = (
        "import sys\nfrom twin_cli import running as cli\n"
        f"try:\n    cli.run([{command!r}])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY_LIBRARIES!r} if name in sys.modules], file=sys.stderr)\n"
    )
    ratio, _, errors = measure_cpu_ratio(code)
    assert errors[-1] == "[]"
    assert ratio < 6


def test_every_command_exists() -> None:
    listed_commands = re.findall(
        r"^\W*\s([a-z][a-z-]*)  +\S", run_twin("--help").stdout, re.MULTILINE
    )
    assert " ".join(sorted(listed_commands)) == (
        "ask backup batch doctor explain export feedback forget "
        "import keys logs lower-floor mcp open pause questions release restore "
        "retrain rollback routing serve status stop traces up versions why widget"
    )


@pytest.mark.parametrize("name", ["no such folder", "empty"])
def test_bad_input_causes_one_message_without_a_traceback(
    home: Settings, tmp_path: Path, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    completed = run_twin("up", str(tmp_path / name), "--author", "José", "--dry-run")
    assert completed.returncode == 1
    assert name in completed.stderr
    assert "next:" in completed.stderr
    assert "Traceback" not in completed.stdout + completed.stderr
    assert not (home.home / "secrets.json").exists()


def test_a_wrong_option_exits_with_two(home: Settings) -> None:
    completed = run_twin("up", "--no-such-option")
    assert completed.returncode == 2
    assert "--no-such-option" in completed.stderr
    assert run_twin("rollback").returncode == 2


@pytest.mark.long
def test_commands_without_a_stack_name_the_next_step(home: Settings) -> None:
    for command in (["ask", "hello"], ["status", "--wait"], ["import", "--author", "x"]):
        completed = run_twin(*command)
        assert completed.returncode == 1
        assert "twin up" in completed.stderr
    completed = run_twin("stop")
    assert completed.returncode == 0
    assert "no stack" in completed.stdout
    assert list(home.home.iterdir()) == []


def test_the_status_is_shown_despite_an_invalid_author_file(home: Settings) -> None:
    home.authors_dir.mkdir(parents=True)
    (home.authors_dir / "ann.toml").write_text("name = [")
    completed = run_twin("status", "--json")
    assert completed.returncode == 1
    status = json.loads(completed.stdout)
    assert (status["running"], status["authors"]) == (False, {"ann": "base"})


def run_failing_command(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command that raises an error; return the exit code."""

    def raise_error(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr("twin_cli.commands.stopping.run_stop", raise_error)
    return cli.run(["stop"])


def test_an_unforeseen_error_prints_one_line_and_saves_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Settings
) -> None:
    assert run_failing_command(ZeroDivisionError("a bug"), monkeypatch) == 1
    stderr = capsys.readouterr().err
    assert "ZeroDivisionError: a bug" in stderr
    assert "Traceback" not in stderr
    traceback_path = Path(stderr.rsplit(" ", 1)[-1].strip())
    assert "Traceback" in traceback_path.read_text()
    traceback_path.unlink()
    assert run_failing_command(KeyboardInterrupt(), monkeypatch) == 130


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free space there"),
        (errno.EROFS, "mount that disk writable"),
        (errno.EIO, "make sure that the disk is mounted"),
        (errno.ENOENT, "see the details"),
    ],
)
def test_a_disk_error_names_the_remedy_for_its_cause(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    home: Settings,
    number: int,
    remedy: str,
) -> None:
    assert (
        run_failing_command(OSError(number, os.strerror(number), "/disk/tables"), monkeypatch) == 1
    )
    stderr = capsys.readouterr().err
    assert f"{os.strerror(number)}: /disk/tables" in stderr
    assert remedy in stderr


@pytest.mark.long
def test_a_dry_run_of_an_import_prints_counts_that_add_up(home: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "my posts"
    folder.mkdir()
    words = "The clock stopped again this morning and I had to look at its escapement. " * 20
    (folder / "2020-01-02-clock.md").write_text(f"# Clock\n\n{words}\n")
    (folder / "2020-01-03-broken.md").write_text("---\ntitle: never closed\n\ntext\n")
    (folder / "2020-01-04-latin.md").write_bytes(b"# Caf\xe9\n\n" + words.encode() + b"\xe9")
    completed = run_twin("import", str(folder), "--author", "李", "--dry-run", "--json")
    assert completed.returncode == 0, completed.stderr
    counts = json.loads(completed.stdout)
    assert counts["found"] == 3
    assert counts["found"] == counts["kept"] + sum(counts["dropped"].values())


@pytest.mark.long
def test_drafts_are_previewed_on_request(home: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "blog"
    texts = {
        "_drafts/clock.md": "The clock stopped this morning and I had to look at its escapement. ",
        "_posts/2020-01-02-boat.md": "We rowed the boat out to the island before it got light. ",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(f"---\ntitle: {name}\n---\n\n{text * 20}\n")
    arguments = ("up", str(folder), "--author", "Ada", "--dry-run")

    completed = run_twin(*arguments, "--include", "everything")
    assert completed.returncode == 1
    assert "drafts, followers, paid, private, replies" in " ".join(completed.stderr.split())
    completed = run_twin(*arguments, "--include", "drafts")
    assert completed.returncode == 0, completed.stderr
    assert "2 usable" in completed.stdout
    assert "1 usable" in run_twin(*arguments).stdout


@pytest.mark.parametrize("target", sorted(DECLARED_ARGUMENTS))
def test_command_functions_accept_their_arguments(target: str) -> None:
    """The functions are called by name, so a type checker cannot check their arguments."""
    signature = inspect.signature(load_command_function(target))
    arguments = dict.fromkeys(DECLARED_ARGUMENTS[target]) | dict.fromkeys(
        INJECTED_ARGUMENTS.keys() & signature.parameters
    )
    signature.bind("settings", **arguments)
