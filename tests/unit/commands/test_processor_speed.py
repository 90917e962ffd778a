"""`twin doctor` times both precisions and says when the slower one is computed in."""

from __future__ import annotations

import pytest
from twin_cli.commands.doctor import processor_speed
from twin_cli.commands.doctor.processor_speed import ProcessorSpeed, look_at_processor

from twin_resources.settings import Settings


@pytest.mark.parametrize(
    ("used", "bf16", "fp32", "verdict", "remedy"),
    [
        ("on", 84.0, 150.0, "warn", "TWIN_BF16=off"),
        ("on", 240.0, 130.0, "ok", ""),
        ("off", 240.0, 130.0, "warn", "TWIN_BF16=on"),
        ("off", 84.0, 150.0, "ok", ""),
        ("off", 155.0, 150.0, "ok", ""),
        ("on", 145.0, 150.0, "ok", ""),
    ],
)
def test_the_slower_precision_is_named_with_what_changes_it(
    home: Settings,
    monkeypatch: pytest.MonkeyPatch,
    used: str,
    bf16: float,
    fp32: float,
    verdict: str,
    remedy: str,
) -> None:
    monkeypatch.setenv("TWIN_BF16", used)
    monkeypatch.setattr(processor_speed, "time_precisions", lambda: ProcessorSpeed(bf16, fp32))
    (finding,) = look_at_processor(home)
    assert finding.verdict == verdict
    assert f"bf16 {bf16:.0f}, fp32 {fp32:.0f} GFLOP/s" in finding.found
    assert remedy in finding.remedy


def test_the_rule_agrees_with_the_clock_of_this_machine(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TWIN_BF16", raising=False)
    (finding,) = look_at_processor(home)
    assert finding.verdict == "ok", finding.found
