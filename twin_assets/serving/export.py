"""A published checkpoint as files that other software loads, with a card for a model hub.

    adapter        PEFT: adapter_model.safetensors, adapter_config.json (vLLM, transformers)
    merged         a transformers folder with the adapter added to the base's weights
    gguf-adapter   adapter.gguf, for llama.cpp with the base's f16 GGUF
    gguf           model.gguf, f16: the whole model for llama.cpp

Formats: https://huggingface.co/docs/peft, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, get_args

from twin_assets.checkpoints.job import write_json
from twin_assets.checkpoints.manifest import read_manifest
from twin_assets.checkpoints.merged_weights import write_merged_model
from twin_assets.checkpoints.published_weights import find_weights
from twin_resources.authors.answer_forms import VOICE
from twin_resources.authors.consent import find_consent_date
from twin_resources.errors import TwinError
from twin_resources.settings import EMBEDDED_BASE_MODEL
from twin_resources.storage.storage_faults import DiskFullError, translate_storage_errors

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.registry.moves import ModelVersion, Verdict

Format = Literal["adapter", "merged", "gguf-adapter", "gguf"]
Dtype = Literal["float16", "bfloat16", "float32"]
RECORD_FILE_NAME = "export.json"
EMBEDDED_BASE_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"


def export(
    checkpoint: Path,
    folder: Path,
    *,
    export_format: Format,
    dtype: Dtype = "float16",
) -> dict[str, Any]:
    """Write one format into a new folder, which appears when it is complete.

    Args:
        checkpoint: folder of a published checkpoint.
        dtype: dtype of `merged`; GGUF files are float16, adapters float32.

    Returns:
        The record of the export's origin, without paths of this machine; it is `export.json` too.

    Raises:
        TwinError: the folder exists, the base model is missing, the checkpoint has no such format,
            or a weight exceeds the range of `dtype`.
    """
    from twin_resources.storage.weights import gguf

    manifest = read_manifest(checkpoint)
    action = f"export {manifest.checkpoint[:12]} as {export_format}"
    base = Path(manifest.base["folder"])
    if export_format not in get_args(Format) or dtype not in get_args(Dtype):
        found, advice = f"format {export_format}, dtype {dtype}", "see `twin export --help`"
        raise TwinError(action, found=found, next_step=advice)
    if folder.exists():
        found, advice = f"{folder} already exists", "specify a new folder"
        raise TwinError(action, found=found, next_step=advice)
    if not (base / "config.json").is_file():
        found = f"its base model {manifest.base['name']} is not at {base}"
        raise TwinError(action, found=found, next_step="run `twin up` to prepare it again")
    source = find_weights(checkpoint, base=base, base_gguf=None)
    if source.adapter is None and export_format in ("adapter", "gguf-adapter"):
        found, advice = "a full model without an adapter", "export it as merged or gguf"
        raise TwinError(action, found=found, next_step=advice)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        translate_storage_errors(action, folder.parent, only=DiskFullError),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary,
    ):
        partial, model = Path(temporary) / "export", source.model
        partial.mkdir()
        if export_format == "gguf" and source.adapter is not None:
            model = Path(temporary) / "merged"  # in float32: the GGUF writer rounds once
            write_merged_model(source.model, source.adapter, model, dtype="float32")
        if export_format == "gguf":
            gguf.write_model(model, partial / "model.gguf")
        elif export_format == "merged":
            write_merged_model(source.model, source.adapter, partial, dtype=dtype)
        elif export_format == "gguf-adapter":
            assert source.adapter is not None
            gguf.write_adapter(source.adapter, source.model, partial / "adapter.gguf")
        else:
            assert source.adapter is not None
            shutil.copytree(source.adapter, partial, dirs_exist_ok=True)
        stored_dtypes = {"merged": dtype, "gguf": "float16"}
        record = {
            "author": manifest.author,
            "checkpoint": manifest.checkpoint,
            "training": manifest.training,
            "stage": manifest.stage,
            "base": {name: manifest.base[name] for name in ("name", "revision")},
            "template": manifest.template,
            "format": export_format,
            "dtype": stored_dtypes.get(export_format, "float32"),
        }
        write_json(partial / RECORD_FILE_NAME, record)
        partial.rename(folder)
    return record


def write_card(
    folder: Path, author: Author, model: ModelVersion, verdict: Verdict | None
) -> dict[str, Any]:
    """Write an export's `README.md`, and name its base as a hub does instead of by its folder.

    Format: https://huggingface.co/docs/hub/model-cards. The values of the gate's claims in
    `model-index` are not independently verified.

    Args:
        model: the exported version; the license of its base is in the base's own card.
        verdict: the newest verdict of the version; None if the gate has not measured it.

    Returns:
        The export's record, with the base's name on a hub.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    record = json.loads((folder / RECORD_FILE_NAME).read_text(encoding="utf-8"))
    name = record["base"]["name"]
    if name == EMBEDDED_BASE_MODEL:
        name = EMBEDDED_BASE_ON_HUB
    elif name.count("/") != 1 or name.startswith(("/", ".", "~")):
        name = PurePosixPath(name).name
    record["base"]["name"] = name
    claims = verdict.claims if verdict else ()
    write_json(folder / RECORD_FILE_NAME, record)
    if (config := folder / "adapter_config.json").exists():
        fields = json.loads(config.read_text(encoding="utf-8"))
        write_json(config, fields | {"base_model_name_or_path": name})
    base_card = Path(model.base) / "README.md"
    license = (
        ModelCard.load(base_card).data.to_dict().get("license") if base_card.exists() else None
    )
    data = ModelCardData(
        language=author.language,
        license=license or "other",
        base_model=name if "/" in name else None,
        pipeline_tag="text-generation",
        library_name={"adapter": "peft", "merged": "transformers"}.get(record["format"]),
        tags=["llm-twin", *(["gguf"] if record["format"].startswith("gguf") else [])],
        model_name=f"{author.name} v{model.version}",
        eval_results=[
            EvalResult(
                task_type="text-generation",
                dataset_type="llm-twin-gate",
                dataset_name=f"the gate's questions and held-out posts of {author.name}",
                metric_type=claim.name,
                metric_value=claim.value,
            )
            for claim in claims
            if claim.value is not None
        ],
    )
    words = {True: "yes", False: "no", None: "not decided"}
    rows = [
        f"| `{claim.name}` | {words[claim.passed]} | {claim.detail.replace('|', '/')} |"
        for claim in claims
    ]
    is_prose_released = verdict is not None and VOICE in verdict.prose_release.forms
    prose = "released" if is_prose_released else "not released"
    consented_on = find_consent_date(author)
    consent = (
        f"{author.name} agreed to this on {consented_on.isoformat()}"
        if consented_on
        else f"{author.name} has not agreed to the publication of these weights"
    )
    found = f"{verdict.gate_version}: {verdict.outcome}" if verdict else "not measured"
    card = f"""---
{data.to_yaml()}
---

# {author.name}, v{model.version}

A language model that was tuned on the posts of {author.name} to answer in their voice. **It is a program, and its sentences are not the author's.**

- {consent}.
- Base model: {name}. Its license applies to these weights: {data.license}.
- Format: {record["format"]}, {record["dtype"]}.
- Checkpoint `{record["checkpoint"]}`, prompt template `{record["template"]}`.

## What the gate found ({found})

Prose without quotations is {prose}.

| claim | holds | measured |
|---|---|---|
{chr(10).join(rows)}
"""  # noqa: E501
    (folder / "README.md").write_text(card, encoding="utf-8")
    return record
