"""Installation: when it has nothing to do, which torch it takes, what a failed pip means."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from checkout import installation

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with a path that has a space, and an environment that works."""
    folder = tmp_path / "my twin"
    (folder / "deploy").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (folder / "deploy" / "constraints.txt").write_text("torch==2.13.0\nrich==13.9.4\n")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return folder


def stamp(project: Path, *extras: str) -> None:
    found = {"fingerprint": installation.fingerprint(project), "extras": list(extras)}
    (project / ".venv" / ".installed").write_text(json.dumps(found))


def fail(*_: object, **__: object) -> None:
    raise installation.InstallationFailed("install", found="it was called", next_step="look")


def test_nothing_has_changed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_works", lambda _project: True)
    monkeypatch.setattr(installation, "_pip", fail)
    monkeypatch.setattr(installation, "_install_torch", lambda _project: None)
    stamp(project, "dev", "aws")
    assert installation.install(project, ["dev"]) is False
    with pytest.raises(installation.InstallationFailed):  # an extra that is not there yet
        installation.install(project, ["ray"])
    stamp(project, "dev")
    (project / "pyproject.toml").write_text("[project]\nname = 'y'\n")
    with pytest.raises(installation.InstallationFailed):
        installation.install(project, [])
    assert not (project / ".venv" / ".installed").exists()  # half done is not done


def test_a_stamp_that_was_cut_short_counts_for_nothing(project: Path) -> None:
    path = project / ".venv" / ".installed"
    for text in ("", "{", "[]"):
        path.write_text(text)
        assert installation.read_stamp(path) == {}


def test_torch_without_cuda_comes_first_where_there_is_no_gpu() -> None:
    choices = installation.torch_choices("2.13.0", has_gpu=False, system="Linux")
    assert [choice[-1] for choice in choices] == ["torch==2.13.0+cpu", "torch==2.13.0"]
    assert installation.torch_choices("2.13.0", has_gpu=True, system="Linux") == [["torch==2.13.0"]]
    assert installation.torch_choices("2.13.0", has_gpu=False, system="Darwin") == [
        ["torch==2.13.0"]
    ]


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ("ERROR: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: Could not find a version that satisfies the requirement x", "does not have"),
        ("... Temporary failure in name resolution ...", "does not answer"),
        ("The conflict is caused by:\n    a needs b<1\n    b==2\n\nTo fix", "a needs b<1; b==2"),
        ("ERROR: something new\n", "something new"),
        ("", "without an error line"),
    ],
)
def test_what_pip_said_is_read(log: str, found: str) -> None:
    assert found in installation.reading_of(log)[0]
    assert installation.reading_of(log)[1]


def test_a_failed_pip_is_a_message_with_its_log(project: Path) -> None:
    """A real pip that is asked for what no registry has."""
    with pytest.raises(installation.InstallationFailed) as failed:
        installation._pip(
            project,
            ["--no-index", "--target", str(project / "t"), "no-such-package-anywhere==1"],
            tried="install a package",
        )
    assert "install.log" in str(failed.value)
    assert "Tried to install a package. Found: " in str(failed.value)


def test_pip_compiles_only_where_python_may_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = project / "small-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small.py", "a = 1\n")
        archive.writestr(
            "small-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1\n"
        )
        archive.writestr(
            "small-1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("small-1.dist-info/RECORD", "")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    target = project / "target"
    installation._pip(
        project, ["--no-index", "--target", str(target), str(wheel)], tried="install a package"
    )
    assert (target / "small.py").is_file()
    assert list(target.rglob("*.pyc")) == []
    assert installation.compiles_when_used({})
    assert not installation.compiles_when_used({"PYTHONDONTWRITEBYTECODE": "1"})


def test_what_a_start_imports_can_be_imported() -> None:
    names = [name for group in installation.STARTS_WITH for name in group.split(", ")]
    assert len(names) > 10
    assert [name for name in names if not source_of(name).exists()] == []


def source_of(module: str) -> Path:
    """Where a module's source lies, found without importing it or what holds it."""
    top, *below = module.split(".")
    spec = find_spec(top)
    assert spec is not None, f"{top} is not installed"
    place = Path((spec.submodule_search_locations or [""])[0], *below)
    return place if place.is_dir() else place.with_suffix(".py")


def test_what_does_not_import_is_said_and_ends_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(installation, "STARTS_WITH", ("json", "a_module_that_is_nowhere"))
    installation._compile_the_start(project)
    assert "1 of 2 left to the start itself" in capsys.readouterr().out


def test_constraints_are_pins_and_nothing_else() -> None:
    pins = installation.pins(ROOT / "deploy" / "constraints.txt")
    lines = (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
    assert len(pins) == len(lines)
    for name, version in pins.items():
        assert "/" not in name + version
        assert "+" not in version
    assert {"torch", "dagster", "lancedb", "litellm", "pytest"} <= set(pins)


def test_the_scripts_are_short_and_parse() -> None:
    for name in ("deploy/up.sh", "deploy/check.sh", "deploy/prepare.sh", ".ci/run"):
        path = ROOT / name
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
        assert len(path.read_text().splitlines()) < 40
    assert "deploy/check.sh" in (ROOT / ".ci" / "run").read_text()
