"""Test the two files with the stack's URLs and keys, for programs and shells."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from twin_resources.errors import TwinError
from twin_resources.processes.endpoints import (
    Endpoints,
    env_path,
    read_endpoints,
    remove_endpoints,
    write_endpoints,
)
from twin_resources.processes.process_identity import ProcessIdentity


def make_endpoints(home: Path) -> Endpoints:
    return Endpoints(
        home=str(home),
        dagster="http://127.0.0.1:3000",
        gateway="http://127.0.0.1:4000/v1",
        gateway_key="sk-twin-x",
        models=("twin/jose", "twin/jose@base"),
        traces="http://127.0.0.1:4318",
        traces_public_key="pk",
        traces_secret_key="sk",
        logs=str(home / "logs"),
        pids={"gateway": ProcessIdentity(12, 1.5)},
    )


def test_the_files_are_private_have_the_documented_fields_and_can_be_removed(
    tmp_path: Path,
) -> None:
    path = write_endpoints(make_endpoints(tmp_path))
    document = json.loads(path.read_text())
    assert set(document) == {
        *("schema", "home", "dagster", "gateway", "gateway_key", "models", "traces"),
        *("traces_public_key", "traces_secret_key", "logs", "pids"),
    }
    assert document["gateway"].endswith("/v1")
    assert document["pids"] == {"gateway": {"pid": 12, "started": 1.5}}
    for file in (path, env_path(tmp_path)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    endpoints = read_endpoints(tmp_path)
    assert endpoints == make_endpoints(tmp_path)
    assert "sk-twin-x" not in repr(endpoints)
    for _ in range(2):  # a second removal is harmless
        remove_endpoints(tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_a_shell_can_source_the_file_whatever_the_folder_is_named(tmp_path: Path) -> None:
    home = tmp_path / "a b'c $HOME"
    home.mkdir()
    write_endpoints(make_endpoints(home))
    script = 'source "$1" && printf "%s|%s|%s" "$TWIN_HOME" "$OPENAI_API_KEY" "$TWIN_MODEL"'
    completed = subprocess.run(
        ["bash", "-c", script, "bash", str(env_path(home))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout == f"{home}|sk-twin-x|twin/jose"
    assert "LANGFUSE" not in env_path(home).read_text()


def test_a_missing_and_a_newer_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="twin up"):
        read_endpoints(tmp_path)
    path = write_endpoints(make_endpoints(tmp_path))
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(TwinError, match="schema version 2"):
        read_endpoints(tmp_path)
