"""bf16 is computed where the processor says so, unless a person says no."""

from __future__ import annotations

from pathlib import Path

import pytest
from twin_cli.commands import machine_stage
from twin_cli.commands.clock import StageClock

from twin_resources.models.model_fit import RECIPE_WITHOUT_BF16
from twin_resources.processes import processor


@pytest.mark.parametrize(
    ("flags", "multiplies"),
    [
        ("flags : sse2 avx2 avx512f avx512_bf16 fma", True),
        ("flags : sse2 amx_bf16 amx_tile", True),
        ("Features : fp asimd bf16 i8mm", True),
        ("flags : sse2 avx2 avx512f f16c", False),
        ("flags : sse2 nobf16x", False),
    ],
)
def test_the_processor_says_it(
    monkeypatch: pytest.MonkeyPatch, flags: str, multiplies: bool
) -> None:
    monkeypatch.delenv("TWIN_BF16", raising=False)
    monkeypatch.setattr(processor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: flags)
    assert processor.multiplies_bf16() is multiplies

    monkeypatch.setenv("TWIN_BF16", "off")
    assert processor.multiplies_bf16() is False


def test_where_nobody_says_it_the_answer_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWIN_BF16", raising=False)
    monkeypatch.setattr(processor.platform, "system", lambda: "Darwin")
    assert processor.multiplies_bf16() is False


def test_a_new_author_gets_the_recipe_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine_stage.preflight, "gpus", list)
    monkeypatch.setenv("TWIN_BF16", "off")
    assert machine_stage.recipe_of_machine(StageClock()) == RECIPE_WITHOUT_BF16
    assert "70,000 tokens" in capsys.readouterr().out

    monkeypatch.setattr(machine_stage.preflight, "gpus", lambda: [("a card", 80.0)])
    assert machine_stage.recipe_of_machine(StageClock()) == ""
