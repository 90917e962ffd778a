"""Test finding and preparing base models."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from twin_resources.errors import TwinError
from twin_resources.models.base_model import main
from twin_resources.settings import Settings
from twin_resources.storage.weights.weights import load_base_model, prepare_base_model


@pytest.fixture
def remote_home(home: Settings) -> Settings:
    """A home with an external model server, which needs no GGUF file."""
    return home.model_copy(update={"model_server_url": "http://127.0.0.1:9/v1"})


def write_model_folder(folder: Path, *, template: str | None = "{{ messages }}") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(save({"weights": np.zeros(2)}))
    (folder / "tokenizer_config.json").write_text("{}")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def test_a_folder_is_used_in_place(remote_home: Settings, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "my model")
    messages: list[str] = []
    model = prepare_base_model(remote_home, str(folder), report=messages.append)
    assert model.folder == folder
    assert model.gguf is None
    assert prepare_base_model(remote_home, str(folder), report=messages.append) == model
    assert load_base_model(remote_home, str(folder)) == model
    assert len(messages) == 1


def test_changed_weights_change_the_revision(remote_home: Settings, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "model")
    before = prepare_base_model(remote_home, str(folder))
    (folder / "model.safetensors").write_bytes(save({"weights": np.ones(2)}))
    with pytest.raises(TwinError, match="no prepared copy"):
        load_base_model(remote_home, str(folder))
    after = prepare_base_model(remote_home, str(folder))
    assert after.revision != before.revision


def test_a_model_without_a_chat_template_is_an_error(remote_home: Settings, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "model", template=None)
    with pytest.raises(TwinError, match="no chat template"):
        prepare_base_model(remote_home, str(folder))
    assert not list(remote_home.weights_dir.glob("**/partial-*"))


@pytest.mark.parametrize("size", [0, 7, 60, 99])
def test_an_incomplete_download_is_an_error(
    remote_home: Settings, tmp_path: Path, size: int
) -> None:
    folder = write_model_folder(tmp_path / "model")
    content = (folder / "model.safetensors").read_bytes()
    assert len(content) > 60
    (folder / "model.safetensors").write_bytes((content * 2)[:size])
    with pytest.raises(TwinError, match=r"model\.safetensors") as error:
        prepare_base_model(remote_home, str(folder))
    assert "download the model again" in error.value.next_step
    assert not list(remote_home.weights_dir.glob("**/partial-*"))


def test_pickled_weights_are_an_error(remote_home: Settings, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(TwinError, match="pickled weights are not read"):
        prepare_base_model(remote_home, str(folder))


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder", "a b/c", "word"])
def test_a_name_that_is_neither_a_folder_nor_a_hub_id_is_an_error(
    home: Settings, name: str
) -> None:
    with pytest.raises(TwinError, match="neither an existing folder nor"):
        prepare_base_model(home, name)


def test_a_killed_preparation_leaves_no_finished_model(
    remote_home: Settings, tmp_path: Path
) -> None:
    folder = write_model_folder(tmp_path / "model")
    model = prepare_base_model(remote_home, str(folder))
    records = list(remote_home.weights_dir.glob("*/*/base_model.json"))
    assert len(records) == 1
    partial_folder = records[0].parent.parent / "partial-1"
    records[0].parent.rename(partial_folder)
    (partial_folder / "base_model.json").unlink()
    assert prepare_base_model(remote_home, str(folder)) == model
    assert not partial_folder.exists()


def test_a_newer_record_is_an_error(remote_home: Settings, tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "model")
    prepare_base_model(remote_home, str(folder))
    (record,) = remote_home.weights_dir.glob("*/*/base_model.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"schema": 99}))
    with pytest.raises(TwinError, match="schema version 99"):
        load_base_model(remote_home, str(folder))


def test_a_file_in_place_of_the_weights_folder_is_an_error(home: Settings) -> None:
    home.weights_dir.write_text("a file where the folder should be")
    with pytest.raises(TwinError, match="move that file or folder away"):
        prepare_base_model(home)


def test_the_command_prints_one_line_and_no_traceback(
    home: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["weights", "show"])
    assert main() == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "Next: run `python -m twin_resources.models.base_model prepare`" in output.err
