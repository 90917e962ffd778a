"""Which checkpoint a killed training goes on from, whatever the end left of the others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from twin_assets.checkpoints.job import write_json
from twin_assets.training.training_state import last_complete


def checkpoint(folder: Path, step: int) -> Path:
    made = folder / f"step-{step:06d}"
    made.mkdir(parents=True)
    (made / "weights.safetensors").write_bytes(b"weights")
    files = {"weights.safetensors": hashlib.sha256(b"weights").hexdigest()}
    (made / "state.json").write_text(json.dumps({"step": step, "files": files}))
    return made


@pytest.mark.parametrize("left", ["", '{"step": 6, "fil', "\0\0\0", None])
def test_a_checkpoint_whose_manifest_did_not_reach_the_disk_is_passed_over(
    tmp_path: Path, left: str | None
) -> None:
    before = checkpoint(tmp_path, 3)
    newest = checkpoint(tmp_path, 6)
    assert last_complete(tmp_path) == (newest, json.loads((newest / "state.json").read_text()))
    if left is None:
        (newest / "state.json").unlink()
    else:
        (newest / "state.json").write_text(left)
    found = last_complete(tmp_path)
    assert found is not None
    assert found[0] == before


@pytest.mark.parametrize("what", ["changed", "missing", "more"])
def test_one_with_other_files_than_its_manifest_names_is_passed_over(
    tmp_path: Path, what: str
) -> None:
    newest = checkpoint(tmp_path, 6)
    weights = newest / "weights.safetensors"
    if what == "missing":
        weights.unlink()
    else:
        (weights if what == "changed" else newest / "more.safetensors").write_bytes(b"zeros")
    assert last_complete(tmp_path) is None


def test_json_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    synced: list[bool] = []
    monkeypatch.setattr("os.fsync", lambda _: synced.append(path.exists()))
    write_json(path, {"step": 1})
    assert synced == [False]
    assert json.loads(path.read_text()) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
