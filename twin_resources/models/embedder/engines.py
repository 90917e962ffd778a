"""Compute the vectors of a prepared embedder with OpenVINO or with the original model.

Scope: two engines with one interface, and choosing an engine that a prepared folder can run.
Out of scope: tokens, batches and windows (`embedder.py`), preparing the folder (`preparation.py`).

OpenVINO is the default. It embeds four times as many chunks per CPU second and starts in half a
second. The original model runs in sentence-transformers (https://sbert.net). It is used on GPUs and
for models with layers that the conversion does not reproduce. In a test, the cosine between the two
engines' vectors was .9999.
"""
# pyright: strict

from __future__ import annotations

import sys
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from twin_resources.errors import TwinError
from twin_resources.processes.gpus import list_usable_gpus
from twin_resources.processes.processor import is_bf16_faster

if TYPE_CHECKING:
    import numpy as np

OPENVINO = "openvino"
SENTENCE_TRANSFORMERS = "sentence-transformers"
CONVERTED_MODEL_FILE = "model.xml"
ORIGINAL_MODEL_FOLDER = "original"  # subfolder for sentence-transformers


class Engine(Protocol):
    """An engine that embeds one batch per call; safe to call from several threads.

    Attributes:
        batch_tokens: maximum number of tokens in a batch, padding included.
    """

    batch_tokens: int

    def __call__(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Compute the vectors of a padded batch.

        Args:
            ids: token ids, int64 of shape (n, t).
            mask: 1 for a token, 0 for padding, the same shape.

        Returns:
            Pooled unit vectors, float32 of shape (n, dimension).
        """
        ...


class OpenVinoEngine:
    """An engine that runs the converted model on the CPU.

    A text's vector does not depend on its batch. Engines in one process share the compiled model,
    but each has its own inference request.

    Args:
        folder: folder of a prepared embedder.
        threads: CPU threads per call.
    """

    batch_tokens = 2048  # 8 texts of 256; larger batches were not faster and used more memory

    def __init__(self, folder: Path, *, threads: int) -> None:
        self.compiled_model = _load_compiled_model(folder.resolve(), threads)
        self._request: Any = self.compiled_model.model.create_infer_request()
        self._request_lock = Lock()  # a request holds its own input and output tensors

    def __call__(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        import numpy as np

        with self._request_lock:
            outputs = self._request.infer({"input_ids": ids, "attention_mask": mask})
            return np.array(outputs[0], np.float32)  # a copy: the next call overwrites the tensor


class _CompiledModel:
    """A model compiled for a number of threads, shared by engines.

    Compiling takes .2 to .8 s and 137 MB, and several resources of a process use the same model.
    The compiled model is therefore kept while any engine uses it. A prepared folder never changes.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        core = import_openvino().Core()
        model = core.read_model(folder / CONVERTED_MODEL_FILE)
        self.model: Any = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if is_bf16_faster() else "f32",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                # With pinning, each call binds one thread of every process to CPU 0, even if it is
                # busy. Pinning is disabled for any number of threads, because OpenVINO reuses the
                # bound threads of a released model.
                "ENABLE_CPU_PINNING": False,
            },
        )


_compiled_models: WeakValueDictionary[tuple[Path, int], _CompiledModel] = WeakValueDictionary()
_compile_lock = Lock()


def _load_compiled_model(folder: Path, threads: int) -> _CompiledModel:
    """Return a compiled model that this process already uses, or compile a new one."""
    key = (folder, threads)
    with _compile_lock:  # a second caller waits instead of compiling the model again
        model = _compiled_models.get(key)
        if model is None:
            model = _compiled_models[key] = _CompiledModel(*key)
        return model


class SentenceTransformersEngine:
    """An engine that runs the original model in torch with fp32, on a GPU if there is one.

    Args:
        folder: folder of the original model.
        device: torch device; empty for `cuda` if available, else `cpu`.
    """

    def __init__(self, folder: Path, *, device: str = "") -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        # 128 texts of 256 tokens, not measured; a GPU would idle between small batches
        self.batch_tokens = 32_768 if self.device == "cuda" else OpenVinoEngine.batch_tokens
        self._model: Any = SentenceTransformer(
            str(folder), device=self.device, local_files_only=True
        ).eval()

    @property
    def dimension(self) -> int:
        return int(self._model.get_embedding_dimension())

    @property
    def token_limit(self) -> int:
        """Longest input in tokens, special tokens included."""
        return int(self._model.max_seq_length)

    def __call__(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        from importlib import import_module

        torch: Any = import_module("torch")  # its types for numpy arrays are incomplete
        batch = {
            "input_ids": torch.from_numpy(ids).to(self.device),
            "attention_mask": torch.from_numpy(mask).to(self.device),
        }
        with torch.inference_mode():
            embeddings = self._model(batch)["sentence_embedding"].float()
            return torch.nn.functional.normalize(embeddings, dim=1).cpu().numpy()


def can_run(folder: Path, engine: str) -> bool:
    """Return whether a prepared folder has the files for an engine; `""` means any engine."""
    has_files = {
        OPENVINO: (folder / CONVERTED_MODEL_FILE).is_file(),
        SENTENCE_TRANSFORMERS: (folder / ORIGINAL_MODEL_FOLDER).is_dir(),
    }
    return has_files[engine] if engine else any(has_files.values())


def open_engine(folder: Path, engine: str, *, threads: int) -> Engine:
    """Load an engine; `""` means OpenVINO if the folder was converted for it.

    Raises:
        TwinError: the folder was not prepared for the engine.
    """
    if not can_run(folder, engine):
        raise TwinError(
            f"run the embedder in {folder} with {engine or 'any engine'}",
            found="it was prepared for another engine",
            next_step="run `python -m twin_resources.models.embedder prepare`",
        )
    if engine == SENTENCE_TRANSFORMERS or not can_run(folder, OPENVINO):
        return SentenceTransformersEngine(folder / ORIGINAL_MODEL_FOLDER)
    return OpenVinoEngine(folder, threads=threads)


def open_gpu_engine(folder: Path) -> SentenceTransformersEngine | None:
    """Load the original model on a GPU; None if there is no GPU or the folder lacks the model."""
    if not can_run(folder, SENTENCE_TRANSFORMERS) or not list_usable_gpus():
        return None
    return SentenceTransformersEngine(folder / ORIGINAL_MODEL_FOLDER)


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    `import openvino` starts `openvino_telemetry`, which writes a client id into the user's home
    folder and sends events unless the user has opted out. If that package is missing, OpenVINO
    sends nothing; `None` in `sys.modules` hides the package.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]
    import openvino

    return openvino
