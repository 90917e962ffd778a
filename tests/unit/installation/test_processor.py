"""Test on which processors bf16 is used, and that the recipe is chosen accordingly and reported."""

from __future__ import annotations

from pathlib import Path

import pytest
from twin_cli.commands import machine_stage
from twin_cli.commands.progress_display import ProgressDisplay

from twin_assets.checkpoints import author_recipe
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.models.model_fit import RECIPE_WITHOUT_BF16
from twin_resources.processes import processor
from twin_resources.settings import Settings


@pytest.mark.parametrize(
    ("cpu_info", "expected"),
    [
        ("vendor_id : AuthenticAMD\nflags : sse2 avx2 avx512f avx512_bf16 fma", True),
        ("vendor_id : GenuineIntel\nflags : avx512f avx512_bf16 amx_bf16 amx_tile", True),
        ("vendor_id : GenuineIntel\nflags : sse2 avx512f avx512_bf16 avx512_fp16", False),
        ("Features : fp asimd bf16 i8mm", True),
        ("flags : sse2 avx2 avx512f f16c", False),
        ("flags : sse2 nobf16x", False),
    ],
)
def test_bf16_depends_on_the_vendor_and_the_instructions(
    monkeypatch: pytest.MonkeyPatch, cpu_info: str, expected: bool
) -> None:
    monkeypatch.setattr(processor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: cpu_info)
    assert processor.is_bf16_faster() is expected


def test_bf16_is_off_on_an_unknown_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor.platform, "system", lambda: "Darwin")
    assert processor.is_bf16_faster() is False


def test_a_new_author_gets_the_recipe_of_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine_stage, "list_usable_gpus", list)
    monkeypatch.setattr(machine_stage, "is_bf16_faster", lambda: False)
    choice = machine_stage.choose_machine_recipe("smollm2-135m-instruct")
    assert choice is not None
    assert choice.recipe == RECIPE_WITHOUT_BF16
    assert "not faster in bf16" in choice.reason
    assert machine_stage.choose_machine_recipe("owner/model-1B") is None, "a recipe was chosen"

    monkeypatch.setattr(machine_stage, "list_usable_gpus", lambda: [("a card", 80.0)])
    assert machine_stage.choose_machine_recipe("smollm2-135m-instruct") is None


def test_the_recipe_is_reported_with_its_reason_before_training(
    home: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(author_recipe, "list_usable_gpus", list)

    def report(reason: str = "", *, recipe: str = "", base_model: str = "") -> str:
        author = Author(slug="ann", name="Ann", recipe=recipe)
        settings = home.model_copy(update={"base_model": base_model or home.base_model})
        machine_stage.report_recipe(
            author, settings, display=ProgressDisplay(verbose=True), reason=reason
        )
        return " ".join(capsys.readouterr().out.split())

    text = report()
    assert "recipe smollm2-135m-cpu: base model of 135M" in text
    assert "at most 100,000 tokens" in text
    text_with_reason = report("no bf16", recipe=RECIPE_WITHOUT_BF16)
    assert "fp32: no bf16; saved in the author's file; at most 70,000 tokens" in text_with_reason
    assert "smollm2-135m-demo: set in the author's file" in report(recipe="smollm2-135m-demo")
    assert "recipe 1b-cpu: base model of 8B, no GPU" in report(base_model="owner/model-8B")
    assert "once the base model is prepared" in report(base_model="gpt2")


def test_a_recipe_option_must_exist_and_a_file_gets_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine_stage.resolve_recipe_name("1b-gpu") == "1b-gpu"
    (tmp_path / "mine.yaml").write_text("extends: smollm2-135m-cpu\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert machine_stage.resolve_recipe_name("mine.yaml") == str(tmp_path / "mine.yaml")
    with pytest.raises(TwinError, match="no file"):
        machine_stage.resolve_recipe_name("none-such")
