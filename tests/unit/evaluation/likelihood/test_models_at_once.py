"""Two models read side by side where they fit, each with its share of the cores."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from twin_assets.evaluation.likelihood.models_at_once import models_at_once, shared_cores

BYTES = 1000


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Folders of two models of `BYTES` each."""
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"0" * BYTES)
        (folder / "tokenizer.json").write_bytes(b"0" * 50 * BYTES)  # no weights
    return folders


def cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(count)), raising=False)


def test_two_read_at_once_only_with_memory_for_both(
    two: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(monkeypatch, 2)

    assert models_at_once(two, available=12 * BYTES) == 2
    assert models_at_once(two, available=12 * BYTES - 1) == 1


def test_one_model_or_one_core_is_read_alone(
    two: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cores(monkeypatch, 2)
    assert models_at_once([], available=10**9) == 1
    assert models_at_once(two[:1], available=10**9) == 1
    assert models_at_once([*two, two[0]], available=10**9) == 2

    cores(monkeypatch, 1)
    assert models_at_once(two, available=10**9) == 1


def test_every_reader_gets_its_share_and_the_process_its_cores_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with shared_cores(2) as take_share, ThreadPoolExecutor(2) as pool:

            def read(_number: int) -> int:
                take_share()
                return torch.get_num_threads()

            assert list(pool.map(read, range(4))) == [2, 2, 2, 2]
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
