"""Test each family of base models, from a folder to a trained, served and exported twin."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.greedy_answers import request_answers
from tests.live.base_models.tiny_families import FAMILIES, make_family
from tests.live.training.conftest import make_samples
from tests.live.training.test_exports import write_published_manifest
from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.job import Job, read_result, write_job, write_rows
from twin_assets.checkpoints.published_weights import copy_weights, find_weights
from twin_assets.checkpoints.recipe import UNMODIFIED_SAMPLES, Launch, load_recipe
from twin_assets.evaluation.measures.served_parity import PARITY_LARGEST, PARITY_MEAN
from twin_assets.evaluation.served import parity
from twin_assets.serving.export import export
from twin_resources.models.base_model import prepare_and_verify
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.models.serving.serving_parity import verify_serving_parity
from twin_resources.settings import Settings
from twin_resources.storage.weights.weights import RECORD_FILE, BaseModel

pytestmark = pytest.mark.live

SHORT = ("qwen3",)  # the others are long tests: each takes a dozen CPU seconds
ANSWER_TOKENS = 8
# Without white space at the ends, as in every question, because llama.cpp's chat route drops it.
PROMPTS = [
    [{"role": "system", "content": "You answer readers."}, {"role": "user", "content": question}]
    for question in ("Question 3: word word word", ("Why? " * 30).strip(), "naïve café – 12,345?")
]


def train(home: Settings, base: BaseModel) -> Path:
    """Train two steps in this process on one rank in fp32; return the output folder."""
    from accelerate import Accelerator

    from twin_assets.training.train import train

    recipe = load_recipe("smollm2-135m-cpu").model_copy(
        update=UNMODIFIED_SAMPLES | {"token_budget": 1500, "max_length": 1024}
    )
    launch = Launch(name="here", device="cpu", mixed_precision="fp32")
    job = Job(home.work_dir / "job", "tiny", base.folder, 1, recipe, launch=launch)
    write_job(job)
    write_rows(job.samples_path, make_samples(16))
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=recipe.accumulation_steps(1))
    train(job, lambda _line: None, accelerator)
    return job.output_folder


@pytest.mark.parametrize(
    "family",
    [name if name in SHORT else pytest.param(name, marks=pytest.mark.long) for name in FAMILIES],
)
def test_a_family_goes_from_folder_to_a_tuned_served_and_exported_twin(
    family: str, home: Settings, texts: list[str], tmp_path: Path
) -> None:
    folder = make_family(family, tmp_path / "model", texts)

    base = prepare_and_verify(home, str(folder), report=lambda _line: None)
    output = train(home, base)
    checkpoint = tmp_path / "checkpoint"
    copy_weights(output, checkpoint, base)
    weights = find_weights(checkpoint, base=base.folder, base_gguf=str(base.gguf))
    with ModelServers(home).serve(weights.model_gguf, weights.adapter_gguf, alias="v1") as server:
        answers = request_answers(server, PROMPTS, max_tokens=ANSWER_TOKENS)
        repeated = request_answers(server, PROMPTS, max_tokens=ANSWER_TOKENS)
    parity_result = parity.compare(
        parity.ReferenceModel(base.folder, weights.adapter), PROMPTS, answers, repeated
    )
    published = write_published_manifest(checkpoint, base.folder)
    export(published, tmp_path / "export", export_format="gguf")

    [record] = home.weights_dir.glob(f"*/*/{RECORD_FILE}")
    proof = json.loads(record.read_text(encoding="utf-8"))["proof"]
    assert proof["prompts"] == 8
    assert 0 < proof["mean"] < PARITY_MEAN
    assert base.adapters == "beside", proof["adapters_why"]
    result = read_result(output / "result.json")
    assert result.steps >= 2
    assert result.left_out == {}
    assert weights.adapter_gguf is not None
    assert parity_result is not None
    assert parity_result.mean < PARITY_MEAN
    assert parity_result.largest < PARITY_LARGEST
    exported = tmp_path / "export" / "model.gguf"
    verify_serving_parity(home, base.folder, exported, adapter=weights.adapter)


@pytest.mark.long
def test_an_adapter_that_llama_cpp_cannot_load_is_merged(
    home: Settings, texts: list[str], tmp_path: Path
) -> None:
    """The preparation's result decides for any family, and the gate still uses the base itself."""
    folder = make_family("qwen3", tmp_path / "model", texts)
    base = prepare_and_verify(home, str(folder), report=lambda _line: None)
    output = train(home, base)
    checkpoint = tmp_path / "checkpoint"

    copy_weights(output, checkpoint, replace(base, adapters="merged"))

    weights = find_weights(checkpoint, base=base.folder, base_gguf=str(base.gguf))
    assert weights.adapter == checkpoint / manifests.ADAPTER_FOLDER
    assert weights.adapter_gguf is None
    assert weights.model_gguf == str(checkpoint / manifests.MODEL_GGUF_FILE)
    assert list(tmp_path.glob("merged-*")) == []
    with ModelServers(home).serve(weights.model_gguf, alias="v1") as server:
        answers = request_answers(server, PROMPTS, max_tokens=ANSWER_TOKENS)
    reference = parity.ReferenceModel(base.folder, weights.adapter)
    result = parity.compare(reference, PROMPTS, answers, answers)
    assert result is not None
    assert result.mean < PARITY_MEAN
    assert result.largest < PARITY_LARGEST
