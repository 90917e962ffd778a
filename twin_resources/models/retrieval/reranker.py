"""Rerank the retrieved passages with the configured cross-encoder.

Scope: fetching and loading the cross-encoder, its scores, and the resulting order.
Out of scope: finding the passages (`search.py`), selecting those to show (`selection.py`).

A cross-encoder encodes a question and a passage together and returns one score (Nogueira and Cho
2019, https://arxiv.org/abs/1901.04085), whereas an embedder encodes each separately. Reranking is
off by default, because it costs a forward pass for each of about 40 passages per question. No model
is recommended; `bench_retrieval.py --only readers` measures the model in `TWIN_RERANKER`.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.models.hub_model import download_model, hash_model_files
from twin_resources.models.retrieval.title_matching import find_named_titles
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.models.retrieval.search import Passage

RERANKER_VARIABLE = "TWIN_RERANKER"
# Every pair is padded to this length, so that its score depends only on the pair.
MAX_LENGTH_TOKENS = 256
BATCH_PAIRS = 16
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_MODEL_SUFFIXES = (".json", ".safetensors", ".txt", ".model")
_NEXT_STEP = f"set {RERANKER_VARIABLE} to the folder or hub id of a cross-encoder, or unset it"


class Reranker:
    """A cross-encoder in memory; safe to call from several threads.

    Args:
        model: folder of a transformers model (`reranker_folder`) with safetensors weights and a
            classification head with one output.
        name: the model's name in the settings; empty for the folder's name.

    Attributes:
        revision: hash of the model's files, 16 hexadecimal digits.

    Raises:
        TwinError: the folder does not contain such a model.
    """

    def __init__(self, model: Path, *, name: str = "") -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        action = f"load the reranker {name or model}"
        try:
            classifier: Any = AutoModelForSequenceClassification.from_pretrained(
                model, use_safetensors=True, dtype=torch.float32
            )
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError) as error:
            problem = str(error).splitlines()[0]
            raise TwinError(action, found=problem, next_step=_NEXT_STEP) from error
        if classifier.config.num_labels != 1:
            problem = f"{classifier.config.num_labels} outputs instead of one score"
            raise TwinError(action, found=problem, next_step=_NEXT_STEP)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = classifier.eval().to(self._device)
        self._max_length = min(
            MAX_LENGTH_TOKENS,
            int(self._tokenizer.model_max_length),
            # Models of the RoBERTa family reserve two positions for padding.
            int(getattr(classifier.config, "max_position_embeddings", MAX_LENGTH_TOKENS + 2)) - 2,
        )
        self._lock = Lock()  # a tokenizer that truncates is not thread-safe
        self.revision = hash_model_files(model.iterdir(), model, suffixes=_MODEL_SUFFIXES)[:16]

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return the model's raw score of each text as an answer, in any range.

        A pair that exceeds the model's limit is truncated.
        """
        scores: list[float] = []
        for start in range(0, len(texts), BATCH_PAIRS):
            scores += self._score_batch(question, texts[start : start + BATCH_PAIRS])
        return scores

    def rerank(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        """Sort the passages by their new scores, best first; ties keep the previous order.

        Passages of a post that the question names by title come first, because the reader means
        that post.
        """
        texts = [
            f"{passage.title}\n\n{passage.text}" if passage.title else passage.text
            for passage in passages
        ]
        title_ranks = find_named_titles(question, [passage.title for passage in passages])
        scores = self.score(question, texts)
        scored_passages = [
            replace(item, score=score) for item, score in zip(passages, scores, strict=True)
        ]
        return sorted(
            scored_passages,
            key=lambda item: (title_ranks.get(item.title, len(title_ranks) + 1), -item.score),
        )

    def _score_batch(self, question: str, texts: Sequence[str]) -> list[float]:
        import torch

        with self._lock:
            encoding: Any = self._tokenizer(
                [question] * len(texts),
                list(texts),
                truncation="longest_first",
                max_length=self._max_length,
                padding="max_length",
                return_tensors="pt",
            ).to(self._device)
        with torch.inference_mode():
            logits: Any = self._model(**encoding).logits.float()
        return logits[:, 0].cpu().tolist()


def load_reranker(settings: Settings) -> Reranker | None:
    """Load the configured reranker, or return None if none is configured.

    Raises:
        TwinError: the model cannot be fetched or is not a reranker.
    """
    if not settings.reranker:
        return None
    return Reranker(reranker_folder(settings), name=settings.reranker)


def reranker_folder(settings: Settings) -> Path:
    """Return the reranker's folder: a local one, or a copy that is fetched from the hub once.

    Raises:
        TwinError: the name is not a folder, and the hub does not return the model.
    """
    name = settings.reranker
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    cached_folder = settings.weights_dir / "reranker" / name.replace("/", "--")
    if not cached_folder.is_dir():
        if not _HUB_ID.fullmatch(name):
            raise TwinError(
                f"load the reranker {name}", found="no such folder", next_step=_NEXT_STEP
            )
        _fetch_model(name, target_folder=cached_folder)
    return cached_folder


def _fetch_model(name: str, *, target_folder: Path) -> None:
    """Fetch a model from the hub; its folder appears only when it is complete."""
    target_folder.parent.mkdir(parents=True, exist_ok=True)
    partial_folder = Path(tempfile.mkdtemp(dir=target_folder.parent))
    try:
        download_model(
            name,
            partial_folder,
            patterns=[f"*{suffix}" for suffix in _MODEL_SUFFIXES],
            action=f"fetch the reranker {name}",
            next_step=_NEXT_STEP,
        )
        # `.cache` contains the hub client's download metadata.
        shutil.rmtree(partial_folder / ".cache", ignore_errors=True)
        if not target_folder.is_dir():  # another process may have finished first
            partial_folder.replace(target_folder)
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)
