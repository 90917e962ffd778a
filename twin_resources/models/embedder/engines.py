"""What computes the vectors of a prepared embedder: OpenVINO, or the original model.

Scope: the two engines behind one call, and which of them a prepared folder can run.
Out of scope: tokens, batches and windows (`embedder.py`), making the folder
(`preparation.py`).

OpenVINO is the default: four times the chunks per CPU second, half a second to start. The original,
run by sentence-transformers (https://sbert.net), is for graphics cards (kept beside the other where
there is one) and for models with layers that the conversion does not reproduce; both give the same
vectors to cosine .9999 (a test).
"""
# pyright: strict

from __future__ import annotations

import sys
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from twin_resources.errors import TwinError
from twin_resources.processes.graphics_cards import usable_gpus
from twin_resources.processes.processor import bf16_is_faster

if TYPE_CHECKING:
    import numpy as np

OPENVINO = "openvino"
SENTENCE_TRANSFORMERS = "sentence-transformers"
CONVERTED = "model.xml"
ORIGINAL = "original"  # the model's own folder, kept where an engine runs it


class Engine(Protocol):
    """Computes one batch; safe to call from several threads.

    Attributes:
        batch_tokens: of a batch at most, padding included.
    """

    batch_tokens: int

    def __call__(self, ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of a padded batch.

        Args:
            ids: token ids, int64 of shape (n, t).
            mask: 1 for a token, 0 for padding, the same shape.

        Returns:
            float32 of shape (n, dimension), pooled and of length 1, and the last layer's state of
            each token, float32 of shape (n, t, dimension); of padding it means nothing.
        """
        ...


class OpenVinoEngine:
    """The converted model on the processor; a text's vector does not depend on its batch.

    Engines of one process share what is compiled; each has a request of its own.

    Args:
        folder: of a prepared embedder.
        threads: processor threads of one call.
        precision: `bf16` or `f32`; empty: bf16 where the processor is faster in it.
    """

    batch_tokens = 2048  # 8 texts of 256: larger ones were not faster and need more memory

    def __init__(self, folder: Path, *, threads: int, precision: str = "") -> None:
        self.compiled = _compiled(folder.resolve(), precision or native_precision(), threads)
        self._request: Any = self.compiled.model.create_infer_request()
        self._one_at_a_time = Lock()  # a request holds its own input and output tensors

    def __call__(self, ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        with self._one_at_a_time:
            answer = self._request.infer({"input_ids": ids, "attention_mask": mask})
            # copies: the next call overwrites them
            return np.array(answer[0], np.float32), np.array(answer[1], np.float32)


class _CompiledModel:
    """A model compiled for one precision and so many threads; engines make requests of it.

    Compiling takes .2 to .8 s and 137 MB, and several resources of one process want the same one:
    it is kept as long as an engine uses it. A prepared folder never changes.
    """

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        core = import_openvino().Core()
        model = core.read_model(folder / CONVERTED)
        model.add_outputs([_token_states(model)])
        self.model: Any = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                # Else one thread is bound to processor 0 during each call, however busy that is,
                # and so is the one of every other process. For all numbers of threads: OpenVINO
                # reuses the bound threads of a model that has gone.
                "ENABLE_CPU_PINNING": False,
            },
        )


def _token_states(model: Any) -> Any:
    """The output that is pooled: of what leads to the vectors the last one of shape (n, t, d).

    Raises:
        TwinError: there is none.
    """
    vectors = model.output(0)
    nodes, seen = [vectors.get_node()], set[str]()
    for node in nodes:
        for source in (one.get_source_output() for one in node.inputs()):
            shape = source.get_partial_shape()
            if len(shape) == 3 and shape[2] == vectors.get_partial_shape()[1]:
                return source
            before = source.get_node()
            if before.get_name() not in seen:
                seen.add(before.get_name())
                nodes.append(before)
    raise TwinError(
        "open the converted embedder",
        found="no layer that gives a vector for each token",
        next_step="set TWIN_EMBEDDER_ENGINE=sentence-transformers, which runs the original",
    )


_in_use: WeakValueDictionary[tuple[Path, str, int], _CompiledModel] = WeakValueDictionary()
_compiling = Lock()


def _compiled(folder: Path, precision: str, threads: int) -> _CompiledModel:
    """The one that an engine of this process uses already, or a new one."""
    key = (folder, precision, threads)
    with _compiling:  # who comes second waits instead of compiling as well
        found = _in_use.get(key)
        if found is None:
            found = _in_use[key] = _CompiledModel(*key)
        return found


class SentenceTransformersEngine:
    """The original model by torch: on the graphics card where there is one, else in fp32.

    Args:
        folder: of the original model.
        device: of torch; empty: `cuda` where there is one, else `cpu`.
    """

    def __init__(self, folder: Path, *, device: str = "") -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        # 128 texts of 256 on a card, by rule, not measured: with small ones it waits for the next
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

    def __call__(self, ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from importlib import import_module

        torch: Any = import_module("torch")  # its types of numpy arrays are partial
        batch = {
            "input_ids": torch.from_numpy(ids).to(self.device),
            "attention_mask": torch.from_numpy(mask).to(self.device),
        }
        with torch.inference_mode():
            made = self._model(batch)
            rows = torch.nn.functional.normalize(made["sentence_embedding"].float(), dim=1)
            return rows.cpu().numpy(), made["token_embeddings"].float().cpu().numpy()


def can_run(folder: Path, engine: str) -> bool:
    """Whether a prepared folder holds what the engine (empty: any) needs."""
    there = {
        OPENVINO: (folder / CONVERTED).is_file(),
        SENTENCE_TRANSFORMERS: (folder / ORIGINAL).is_dir(),
    }
    return there[engine] if engine else any(there.values())


def open_engine(folder: Path, engine: str, *, threads: int, precision: str = "") -> Engine:
    """Load the engine that was asked for; empty: OpenVINO where the folder is converted for it.

    Raises:
        TwinError: the folder was not prepared for it.
    """
    if not can_run(folder, engine):
        raise TwinError(
            f"run the embedder in {folder} by {engine or 'any engine'}",
            found="it was prepared for another engine",
            next_step="run `python -m twin_resources.models.embedder prepare`",
        )
    if engine == SENTENCE_TRANSFORMERS or not can_run(folder, OPENVINO):
        return SentenceTransformersEngine(folder / ORIGINAL)
    return OpenVinoEngine(folder, threads=threads, precision=precision)


def open_card(folder: Path) -> SentenceTransformersEngine | None:
    """The original model on the graphics card; None: there is no card, or no original here."""
    if not can_run(folder, SENTENCE_TRANSFORMERS) or not usable_gpus():
        return None
    return SentenceTransformersEngine(folder / ORIGINAL)


def native_precision() -> str:
    """`bf16` where the processor is faster in it (1.8 times), else `f32`."""
    return "bf16" if bf16_is_faster() else "f32"


def import_openvino() -> Any:
    """Import OpenVINO with its telemetry out of reach.

    `import openvino` starts `openvino_telemetry`, which writes a client id into the user's home
    folder and sends events unless a person opted out. OpenVINO carries its own silent replacement
    for a machine that lacks the package; a `None` in `sys.modules` makes it lack it.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]
    import openvino

    return openvino
