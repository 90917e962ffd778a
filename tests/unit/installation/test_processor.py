"""bf16 is computed where it is the faster one; the recipe follows and is told beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest
from twin_cli.commands import machine_stage
from twin_cli.commands.clock import StageClock

from twin_assets.checkpoints import author_recipe
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.models.model_fit import RECIPE_WITHOUT_BF16
from twin_resources.processes import processor
from twin_resources.settings import Settings


@pytest.mark.parametrize(
    ("told", "faster"),
    [
        ("vendor_id : AuthenticAMD\nflags : sse2 avx2 avx512f avx512_bf16 fma", True),
        ("vendor_id : GenuineIntel\nflags : avx512f avx512_bf16 amx_bf16 amx_tile", True),
        ("vendor_id : GenuineIntel\nflags : sse2 avx512f avx512_bf16 avx512_fp16", False),
        ("Features : fp asimd bf16 i8mm", True),
        ("flags : sse2 avx2 avx512f f16c", False),
        ("flags : sse2 nobf16x", False),
    ],
)
def test_maker_and_instructions_say_it(
    monkeypatch: pytest.MonkeyPatch, told: str, faster: bool
) -> None:
    monkeypatch.delenv("TWIN_BF16", raising=False)
    monkeypatch.setattr(processor.platform, "system", lambda: "Linux")
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: told)
    assert processor.is_bf16_faster() is faster

    for said in ("off", "on"):
        monkeypatch.setenv("TWIN_BF16", said)
        assert processor.is_bf16_faster() is (said == "on")


def test_where_nobody_says_it_the_answer_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWIN_BF16", raising=False)
    monkeypatch.setattr(processor.platform, "system", lambda: "Darwin")
    assert processor.is_bf16_faster() is False


def test_a_new_author_gets_the_recipe_of_the_processor_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine_stage, "list_usable_gpus", list)
    monkeypatch.setenv("TWIN_BF16", "off")
    chosen = machine_stage.choose_machine_recipe("smollm2-135m-instruct")
    assert chosen is not None
    assert chosen.recipe == RECIPE_WITHOUT_BF16
    assert "not faster in bf16" in chosen.reason
    assert machine_stage.choose_machine_recipe("owner/model-1B") is None, "chosen at each training"

    monkeypatch.setattr(machine_stage, "list_usable_gpus", lambda: [("a card", 80.0)])
    assert machine_stage.choose_machine_recipe("smollm2-135m-instruct") is None


def test_the_recipe_is_told_before_the_training_with_its_reason(
    home: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(author_recipe, "list_usable_gpus", list)

    def told(because: str = "", *, recipe: str = "", base_model: str = "") -> str:
        author = Author(slug="ann", name="Ann", recipe=recipe)
        named = home.model_copy(update={"base_model": base_model or home.base_model})
        machine_stage.report_recipe(author, named, clock=StageClock(verbose=True), reason=because)
        return " ".join(capsys.readouterr().out.split())

    small = told()
    assert "recipe smollm2-135m-cpu: base model of 135M" in small
    assert "at most 100,000 tokens" in small
    noted = told("no bf16", recipe=RECIPE_WITHOUT_BF16)
    assert "fp32: no bf16; noted in the author's file; at most 70,000 tokens" in noted
    assert "smollm2-135m-demo: set in the author's file" in told(recipe="smollm2-135m-demo")
    assert "recipe 1b-cpu: base model of 8B, no GPU" in told(base_model="owner/model-8B")
    assert "once the base model is prepared" in told(base_model="gpt2")


def test_a_recipe_of_the_command_line_is_there_and_a_file_of_it_is_named_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine_stage.resolve_recipe_name("1b-gpu") == "1b-gpu"
    (tmp_path / "mine.yaml").write_text("extends: smollm2-135m-cpu\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert machine_stage.resolve_recipe_name("mine.yaml") == str(tmp_path / "mine.yaml")
    with pytest.raises(TwinError, match="no file"):
        machine_stage.resolve_recipe_name("none-such")
