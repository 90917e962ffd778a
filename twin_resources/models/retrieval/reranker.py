"""Rerank the retrieved passages with a cross-encoder, which is off by default.

A cross-encoder reads a question and a passage together and returns one score (Nogueira and Cho
2019, https://arxiv.org/abs/1901.04085). It costs a forward pass for each of some 20 passages. No
model is recommended, because none was measured here.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.models.hub_model import download_model, hash_model_files
from twin_resources.models.retrieval.title_matching import find_named_titles
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.models.retrieval.search import Passage

MAX_RERANKED = 20
MAX_LENGTH_TOKENS = 512  # question and passage; a pair beyond the limit is truncated
_MODEL_SUFFIXES = (".json", ".safetensors", ".txt", ".model")
_NEXT_STEP = "set TWIN_RERANKER to the folder or hub id of a cross-encoder, or unset it"


class Reranker:
    """A cross-encoder in memory; `revision` is the hash of its files, 16 hexadecimal digits.

    Args:
        model: folder of a transformers model with safetensors weights and one output.

    Raises:
        TwinError: the folder does not contain such a model.
    """

    def __init__(self, model: Path) -> None:
        from sentence_transformers import CrossEncoder

        try:
            self._model: Any = CrossEncoder(str(model), local_files_only=True)
        except (OSError, ValueError) as error:
            found = str(error).splitlines()[0]
            raise TwinError(
                f"load the reranker {model}", found=found, next_step=_NEXT_STEP
            ) from error
        # Models of the RoBERTa family reserve two positions for padding.
        positions = getattr(self._model.config, "max_position_embeddings", MAX_LENGTH_TOKENS + 2)
        self._model.max_length = min(MAX_LENGTH_TOKENS, int(positions) - 2)
        if self._model.num_labels != 1:
            found = f"{self._model.num_labels} outputs instead of one score"
            raise TwinError(f"load the reranker {model}", found=found, next_step=_NEXT_STEP)
        self.revision = hash_model_files(model.iterdir(), model, suffixes=_MODEL_SUFFIXES)[:16]

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        """Sort the first `MAX_RERANKED` by their new scores; named posts stay first."""
        head, tail = passages[:MAX_RERANKED], passages[MAX_RERANKED:]
        pairs = [(question, f"{passage.title}\n\n{passage.text}".strip()) for passage in head]
        scores = self._model.predict(pairs, show_progress_bar=False) if pairs else []
        ranks = find_named_titles(question, [passage.title for passage in head])
        scored = [
            replace(item, score=float(score)) for item, score in zip(head, scores, strict=True)
        ]
        scored.sort(key=lambda item: (ranks.get(item.title, len(ranks) + 1), -item.score))
        return [*scored, *tail]


def load_reranker(settings: Settings) -> Reranker | None:
    """Load the configured reranker, fetched from the hub once, or None if none is configured.

    Raises:
        TwinError: the model cannot be fetched or is not a reranker.
    """
    name = settings.reranker
    if not name:
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = settings.weights_dir / "reranker" / name.replace("/", "--")
    if not folder.is_dir():
        action = f"fetch the reranker {name}"
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name):
            raise TwinError(action, found="no such folder", next_step=_NEXT_STEP)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            patterns = [f"*{suffix}" for suffix in _MODEL_SUFFIXES]
            model = Path(scratch) / "model"
            download_model(name, model, patterns=patterns, action=action, next_step=_NEXT_STEP)
            shutil.rmtree(model / ".cache", ignore_errors=True)  # the hub client's metadata
            if not folder.is_dir():  # another process may have finished first
                model.replace(folder)
    return Reranker(folder)
