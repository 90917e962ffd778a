"""Ten families of base models: from a folder to a twin that is trained, served and exported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.live.base_models.tiny_families import FAMILIES, make_family
from tests.live.training.conftest import rows
from tests.live.training.test_exports import write_published_manifest
from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.job import Job, read_result, write_job, write_rows
from twin_assets.checkpoints.published_weights import copy_weights, find_weights
from twin_assets.checkpoints.recipe import UNMODIFIED_SAMPLES, Launch, LoraShape, load_recipe
from twin_assets.evaluation.measures.served_parity import PARITY_LARGEST, PARITY_MEAN
from twin_assets.evaluation.served import parity
from twin_assets.serving.export.exporting import export
from twin_resources.models.base_model import prepare_and_verify
from twin_resources.models.serving import served_model
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.settings import Settings
from twin_resources.storage.weights.weights import RECORD_FILE, BaseModel

pytestmark = pytest.mark.live

SHORT = ("qwen3",)  # the others in the long form: each takes a dozen CPU seconds
MERGED: set[str] = set()  # families whose adapters llama.cpp does not take beside the base
# Of mixtures of experts: rounded otherwise, the router takes another of four experts at a place or
# two of a tiny model. The base alone is held to the limits as they are, by its preparation.
EXPERTS = {"gpt-oss": 3}
TOKENS = 8
# Without white space at their ends, as every question is asked: llama.cpp's chat route drops it.
PROMPTS = [
    [{"role": "system", "content": "You answer readers."}, {"role": "user", "content": question}]
    for question in ("Question 3: word word word", ("Why? " * 30).strip(), "naïve café – 12,345?")
]


def trained(home: Settings, base: BaseModel) -> Path:
    """The output of two steps in this process: one rank, in fp32."""
    from accelerate import Accelerator

    from twin_assets.training.train import train

    recipe = load_recipe("smollm2-135m-cpu").model_copy(
        update=UNMODIFIED_SAMPLES | {"token_budget": 1500, "max_length": 1024}
    )
    launch = Launch(name="here", device="cpu", mixed_precision="fp32")
    job = Job(home.work_dir / "job", "tiny", base.folder, 1, recipe, launch=launch)
    write_job(job)
    write_rows(job.samples_path, rows(16))
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=recipe.accumulation_steps(1))
    train(job, lambda _line: None, accelerator)
    return job.output_folder


@pytest.mark.drawn(1, of="models of other kinds")
@pytest.mark.parametrize(
    "family",
    [name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in FAMILIES],
)
def test_a_family_goes_from_folder_to_a_tuned_served_and_exported_twin(
    family: str, home: Settings, texts: list[str], tmp_path: Path
) -> None:
    folder = make_family(family, tmp_path / "model", texts)

    base = prepare_and_verify(home, str(folder), report=lambda _line: None)
    output = trained(home, base)
    made = tmp_path / "checkpoint"
    copy_weights(output, made, base)
    weights = find_weights(made, base=base.folder, base_gguf=str(base.gguf))
    with ModelServers(home).serve(weights.model_gguf, weights.adapter_gguf, alias="v1") as server:
        once = served_model.ask(server, PROMPTS, max_tokens=TOKENS)
        again = served_model.ask(server, PROMPTS, max_tokens=TOKENS)
    found = parity.compare(
        parity.ReferenceModel(base.folder, weights.adapter), PROMPTS, once, again
    )
    exported = export(
        write_published_manifest(made, base.folder),
        tmp_path / "export",
        export_format="gguf",
        settings=home,
    )

    [record] = home.weights_dir.glob(f"*/*/{RECORD_FILE}")
    proof = json.loads(record.read_text(encoding="utf-8"))["proof"]
    assert proof["prompts"] == 8
    assert 0 < proof["mean"] < PARITY_MEAN
    assert base.adapters == ("merged" if family in MERGED else "beside"), proof["adapters_why"]
    result = read_result(output / "result.json")
    assert result.steps >= 2
    assert result.left_out == {}
    assert (weights.adapter_gguf is None) == (family in MERGED)
    assert found is not None
    times = EXPERTS.get(family, 1)
    assert found.mean < times * PARITY_MEAN
    assert found.largest < times * PARITY_LARGEST
    assert exported.agreement is not None
    assert exported.agreement.is_within_tolerance


@pytest.mark.long
def test_an_adapter_that_llama_cpp_does_not_take_is_merged(
    home: Settings, texts: list[str], tmp_path: Path
) -> None:
    """Of any family: what the preparation found out decides, and the gate's base stays the base."""
    folder = make_family("qwen3", tmp_path / "model", texts)
    base = prepare_and_verify(home, str(folder), report=lambda _line: None)
    output = trained(home, base)
    made = tmp_path / "checkpoint"

    copy_weights(output, made, replace(base, adapters="merged"))

    weights = find_weights(made, base=base.folder, base_gguf=str(base.gguf))
    assert weights.adapter == made / manifests.ADAPTER_FOLDER
    assert weights.adapter_gguf is None
    assert weights.model_gguf == str(made / manifests.MODEL_GGUF_FILE)
    assert list(tmp_path.glob("merged-*")) == []
    with ModelServers(home).serve(weights.model_gguf, alias="v1") as server:
        once = served_model.ask(server, PROMPTS, max_tokens=TOKENS)
    reference = parity.ReferenceModel(base.folder, weights.adapter)
    found = parity.compare(reference, PROMPTS, once, once)
    assert found is not None
    assert found.mean < PARITY_MEAN
    assert found.largest < PARITY_LARGEST


@pytest.mark.drawn(1, of="models of other kinds")
def test_layers_of_another_name_get_an_adapter_where_the_recipe_names_llamas(
    tmp_path: Path, texts: list[str]
) -> None:
    from transformers import AutoModelForCausalLM

    from twin_assets.training.adapter import add_adapter, list_linear_layers, select_target_modules

    folder = make_family("phi3", tmp_path / "model", texts)
    base: Any = AutoModelForCausalLM.from_pretrained(folder)
    lora = load_recipe("smollm2-135m-cpu").lora
    assert lora is not None
    linear = list_linear_layers(base)

    assert linear == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}
    assert select_target_modules(lora, linear, architecture="phi3") == linear
    by_word = LoraShape(rank=2, alpha=4, dropout=0.0, target_modules="all-linear")
    by_table = by_word.model_copy(update={"target_modules": "peft"})
    assert select_target_modules(by_word, linear, architecture="phi3") == linear
    assert select_target_modules(by_table, {"q_proj", "k_proj"}, architecture="qwen3") == {
        "q_proj",
        "v_proj",
    }
    adapted = add_adapter(base, lora, initial_adapter=None)
    assert list_linear_layers(adapted.get_base_model()) == linear
