"""Test that bf16 is used only if the hardware supports it natively."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from twin_resources.models.training_launcher import can_compute_in_bf16


@pytest.mark.parametrize(("major", "supports_bf16"), [(7, False), (8, True), (9, True)])
def test_a_gpu_older_than_ampere_trains_in_fp32(
    monkeypatch: pytest.MonkeyPatch, major: int, supports_bf16: bool
) -> None:
    """On older GPUs, torch emulates bf16 and reports support."""
    cuda = torch.cuda
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "current_device", lambda: 0)
    monkeypatch.setattr(cuda, "get_device_properties", lambda _: SimpleNamespace(major=major))
    monkeypatch.setattr(cuda, "_check_bf16_tensor_supported", lambda _: True)
    assert can_compute_in_bf16("cuda") is supports_bf16
