"""The generated supervisord.conf, parsed by supervisord."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from twin_resources.errors import TwinError
from twin_resources.processes.supervisor import (
    MAX_SOCKET_PATH,
    Program,
    quote,
    render_configuration,
    socket_path,
)


def parsed(programs: list[Program], folder: Path) -> dict[str, Any]:
    from supervisor.options import ServerOptions

    (folder / "logs").mkdir(parents=True)
    text = render_configuration(
        programs,
        folder=folder,
        logs=folder / "logs",
        socket=folder / "s.sock",
        identifier="twin-test",
    )
    path = folder / "supervisord.conf"
    path.write_text(text)
    options = ServerOptions()
    options.realize(["-c", str(path)])
    (group,) = (
        options.process_group_configs
    )  # one group stops at once, several stop one after another
    return {process.name: process for process in group.process_configs}


@pytest.mark.filterwarnings("ignore")
def test_awkward_arguments_and_folders_come_through(tmp_path: Path) -> None:
    folder = tmp_path / "ho me 100%d"
    command = (sys.executable, "-c", "print('a b')", "100%", 'q"uote', "back\\slash", "$HOME")
    program = Program("web", command, tmp_path, withheld_variables=("A_KEY", "B_KEY"))
    found = parsed([program], folder)["web"]
    import shlex

    assert tuple(shlex.split(found.command)) == command
    assert found.environment == {"A_KEY": "", "B_KEY": ""}
    assert found.stdout_logfile == str(folder / "logs" / "web.log")
    assert found.stopasgroup
    assert found.killasgroup
    assert found.autorestart


def test_a_line_break_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="line break"):
        quote("a\nb")


def test_the_socket_stays_in_the_home_while_it_fits(tmp_path: Path) -> None:
    assert socket_path(Path("/h")) == Path("/h/supervisor.sock")
    assert socket_path(Path("/h"), "dagster-code") == Path("/h/dagster-code.sock")


def test_a_long_home_gets_a_short_private_socket_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    deep = tmp_path.joinpath(*["deeper"] * 20)
    path = socket_path(deep)
    assert len(str(path)) <= MAX_SOCKET_PATH
    assert path.is_relative_to(short)
    assert path.parent.stat().st_mode & 0o077 == 0
    assert path == socket_path(deep)
    assert path != socket_path(deep / "other")
    assert path != socket_path(deep, "dagster-code")
    path.parent.chmod(0o755)
    with pytest.raises(TwinError, match="open to others"):
        socket_path(deep)


def test_a_shell_with_another_tmpdir_finds_the_socket_of_a_long_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`twin stop` with another TMPDIR used to miss the stack."""
    deep = tmp_path.joinpath(*["deeper"] * 20)
    deep.mkdir(parents=True)
    started, stopped = (Path(tempfile.mkdtemp(dir="/tmp")) for _ in range(2))
    monkeypatch.setattr(tempfile, "tempdir", str(started))
    path = socket_path(deep)
    assert path.is_relative_to(started)
    monkeypatch.setattr(tempfile, "tempdir", str(stopped))
    assert socket_path(deep) == path
    assert socket_path(deep, "dagster-code").is_relative_to(stopped)
    shutil.rmtree(started)  # the next start chooses a new folder
    assert socket_path(deep).is_relative_to(stopped)
    assert socket_path(deep) == socket_path(deep)
    shutil.rmtree(stopped)
