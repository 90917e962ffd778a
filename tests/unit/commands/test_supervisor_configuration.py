"""Test the generated supervisord.conf, as supervisord parses it, and the paths of the sockets."""

from __future__ import annotations

import shlex
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


def parse_configuration(programs: list[Program], folder: Path) -> dict[str, Any]:
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
    # The programs of one group stop at the same time; several groups would stop in sequence.
    [group] = options.process_group_configs
    return {process.name: process for process in group.process_configs}


@pytest.mark.filterwarnings("ignore")
def test_unusual_arguments_and_folders_are_preserved(tmp_path: Path) -> None:
    folder = tmp_path / "ho me 100%d"
    command = (sys.executable, "-c", "print('a b')", "100%", 'q"uote', "back\\slash", "$HOME")
    program = Program("web", command, tmp_path, withheld_variables=("A_KEY", "B_KEY"))
    process_config = parse_configuration([program], folder)["web"]
    assert tuple(shlex.split(process_config.command)) == command
    assert process_config.environment == {"A_KEY": "", "B_KEY": ""}
    assert process_config.stdout_logfile == str(folder / "logs" / "web.log")
    assert process_config.stopasgroup
    assert process_config.killasgroup
    assert process_config.autorestart


def test_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        quote("a\nb")


def test_the_socket_is_in_the_home_if_its_path_is_short() -> None:
    assert socket_path(Path("/h")) == Path("/h/supervisor.sock")
    assert socket_path(Path("/h"), "dagster-code") == Path("/h/dagster-code.sock")


def test_a_long_home_gets_a_short_private_socket_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link in the home leads to the socket, so commands with another TMPDIR find the stack."""
    long_home = tmp_path.joinpath(*["deeper"] * 20)
    long_home.mkdir(parents=True)
    first_folder, second_folder = (Path(tempfile.mkdtemp(dir="/tmp")) for _ in range(2))
    monkeypatch.setattr(tempfile, "tempdir", str(first_folder))
    path = socket_path(long_home)
    assert len(str(path)) <= MAX_SOCKET_PATH
    assert path.is_relative_to(first_folder)
    assert path.parent.stat().st_mode & 0o077 == 0
    assert len({path, socket_path(long_home / "other"), socket_path(long_home, "code")}) == 3
    monkeypatch.setattr(tempfile, "tempdir", str(second_folder))
    assert socket_path(long_home) == path
    path.parent.chmod(0o755)
    with pytest.raises(TwinError, match="open to others"):
        socket_path(long_home)
    shutil.rmtree(first_folder)  # the next start chooses a new folder
    assert socket_path(long_home).is_relative_to(second_folder)
    shutil.rmtree(second_folder)
