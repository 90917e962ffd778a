"""Test training and fetching weights on a full disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.small_disk import SmallDisk, small_disk
from twin_assets.checkpoints.job import read_job
from twin_assets.training.training_state import find_last_complete_checkpoint
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher import LocalLauncher, TrainingJob
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.storage_faults import DiskFullError
from twin_resources.storage.weights.weights import load_base_model, prepare_base_model

pytestmark = pytest.mark.live


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small disk", megabytes=40) as mounted_disk:
        yield mounted_disk


@pytest.fixture
def home(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch, process_logs: Path) -> Settings:
    monkeypatch.setenv("TWIN_HOME", str(disk.path / "home"))
    settings = load_settings()
    settings.home.mkdir()
    settings.logs_dir.symlink_to(process_logs)
    return settings


@pytest.mark.usefixtures("quick_starts")
def test_a_checkpoint_that_does_not_fit_is_written_later(
    disk: SmallDisk, home: Settings, make_job: Callable[..., TrainingJob]
) -> None:
    job = make_job("full", token_budget=16_000)
    state = read_job(job.folder / "job.json").state_folder
    texts: list[str] = []

    def listen(message: dict[str, object]) -> None:
        texts.append(str(message.get("text", "")))
        if find_last_complete_checkpoint(state) is not None and not disk.ballast.exists():
            disk.fill(leave=20_000)

    with pytest.raises(TwinError, match=r"no space left on the disk of .*free space there"):
        LocalLauncher(home).run(job, on_message=listen)
    assert not [text for text in texts if "trying again" in text], (
        "the training was retried on a full disk"
    )
    checkpoint = find_last_complete_checkpoint(state)
    assert checkpoint is not None
    assert not (job.folder / "output").exists()

    disk.make_room()
    lines: list[str] = []
    output = LocalLauncher(home).run(
        job, on_message=lambda message: lines.append(str(message.get("text", "")))
    )
    assert (output / "adapter" / "adapter_model.safetensors").is_file()
    assert f"resuming after step {checkpoint[1]['step']} of" in " ".join(lines)


def test_weights_that_do_not_fit_leave_earlier_ones_unchanged(
    disk: SmallDisk, home: Settings, tiny_model: Path, base_model: Path, tmp_path: Path
) -> None:
    from tests.live.tiny_model import make_tiny_model

    first_base = prepare_base_model(home, str(tiny_model))
    other_model = make_tiny_model(tmp_path / "other", base_model, seed=8)
    disk.fill(leave=1_000_000)
    with pytest.raises(DiskFullError, match=r"prepare the base model .*no space left on the disk"):
        prepare_base_model(home, str(other_model))
    assert not list(home.weights_dir.glob("*/partial-*"))
    assert load_base_model(home, str(tiny_model)) == first_base
    with pytest.raises(TwinError, match="GB are needed"):  # the embedded model is large
        prepare_base_model(home)

    disk.make_room()
    second_base = prepare_base_model(home, str(other_model))
    assert second_base.revision != first_base.revision
    assert second_base.gguf is not None
    assert second_base.gguf.stat().st_size > 1_000_000
