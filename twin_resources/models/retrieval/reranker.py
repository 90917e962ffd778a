"""A cross-encoder that a person names, which ranks the found passages again.

Scope: where it lies, fetching it once, loading it, its scores and the order by them.
Out of scope: finding the passages (`search.py`), how many are shown (`selection.py`).

A cross-encoder reads question and passage together and gives one score, which an embedder, that
reads each alone, cannot (Nogueira and Cho 2019, https://arxiv.org/abs/1901.04085). Off by default:
it costs a forward pass for each of some 40 passages a question, and no quality is claimed for any
model: `bench_retrieval.py --only readers` with `TWIN_RERANKER` set tells what one is worth.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.models.retrieval.naming import named_in
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.models.retrieval.search import Passage

VARIABLE = "TWIN_RERANKER"
LENGTH = 256  # tokens that a pair is padded to, so that a score hangs on its pair alone
BATCH = 16  # pairs
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
_NAME_ANOTHER = f"name a folder or hub id of a cross-encoder in {VARIABLE}, or unset it"


class Reranker:
    """A cross-encoder in memory; safe to call from several threads.

    Args:
        model: folder of a transformers model with a classification head of one output
            (`reranker_folder`), weights in safetensors.
        name: as a person wrote it; empty: the folder.

    Attributes:
        revision: 16 hexadecimal digits that follow from the files of the model.

    Raises:
        TwinError: the folder holds no such model.
    """

    def __init__(self, model: Path, *, name: str = "") -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        tried = f"load the reranker {name or model}"
        try:
            loaded: Any = AutoModelForSequenceClassification.from_pretrained(
                model, use_safetensors=True, dtype=torch.float32
            )
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError) as error:
            found = str(error).splitlines()[0]
            raise TwinError(tried, found=found, next_step=_NAME_ANOTHER) from error
        if loaded.config.num_labels != 1:
            found = f"{loaded.config.num_labels} outputs; a reranker has one, the score"
            raise TwinError(tried, found=found, next_step=_NAME_ANOTHER)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = loaded.eval().to(self._device)
        self._length = min(
            LENGTH,
            int(self._tokenizer.model_max_length),
            # two positions are the padding's own in models of RoBERTa's family
            int(getattr(loaded.config, "max_position_embeddings", LENGTH + 2)) - 2,
        )
        self._lock = Lock()  # a tokenizer that truncates is not safe between threads
        self.revision = _revision(model)

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers the question: the model's output, of any range, one a text.

        A text that the model does not read whole is cut at its end.
        """
        found: list[float] = []
        for start in range(0, len(texts), BATCH):
            found += self._batch(question, texts[start : start + BATCH])
        return found

    def ranked(self, question: str, passages: Sequence[Passage]) -> list[Passage]:
        """The passages by their scores, best first, each with its score; ties as they were.

        Those of a post that the question names by title stay before all others: who writes a title
        out means that post, and the check `a_named_post_is_found_first` holds for every reranker.
        """
        texts = [
            f"{passage.title}\n\n{passage.text}" if passage.title else passage.text
            for passage in passages
        ]
        named = named_in(question, [passage.title for passage in passages])
        scores = self.scores(question, texts)
        scored = [replace(one, score=score) for one, score in zip(passages, scores, strict=True)]
        return sorted(scored, key=lambda one: (named.get(one.title, len(named) + 1), -one.score))

    def _batch(self, question: str, texts: Sequence[str]) -> list[float]:
        import torch

        with self._lock:
            encoded: Any = self._tokenizer(
                [question] * len(texts),
                list(texts),
                truncation="longest_first",
                max_length=self._length,
                padding="max_length",
                return_tensors="pt",
            ).to(self._device)
        with torch.inference_mode():
            logits: Any = self._model(**encoded).logits.float()
        return logits[:, 0].cpu().tolist()


def load_reranker(settings: Settings) -> Reranker | None:
    """The reranker that the settings name; None: they name none.

    Raises:
        TwinError: it cannot be had, or is none.
    """
    if not settings.reranker:
        return None
    return Reranker(reranker_folder(settings), name=settings.reranker)


def reranker_folder(settings: Settings) -> Path:
    """The folder of the reranker: a local one where it lies, else fetched from the hub, once.

    Raises:
        TwinError: it is no folder, and the hub does not give it.
    """
    name = settings.reranker
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    fetched = settings.weights_dir / "reranker" / name.replace("/", "--")
    if not fetched.is_dir():
        if not _HUB_ID.fullmatch(name):
            raise TwinError(
                f"load the reranker {name}", found="no such folder", next_step=_NAME_ANOTHER
            )
        _fetch(name, into=fetched)
    return fetched


def _fetch(name: str, *, into: Path) -> None:
    """Fetch a model of the hub; the folder appears whole or not at all."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    into.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=into.parent))
    try:
        snapshot_download(name, local_dir=part, allow_patterns=list(_FILES))
        shutil.rmtree(part / ".cache", ignore_errors=True)  # the hub's notes on the download
        if not into.is_dir():  # another process may have been faster
            part.replace(into)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise TwinError(
            f"fetch the reranker {name}",
            found=f"no such folder, and the model hub answered: {error}",
            next_step=_NAME_ANOTHER,
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _revision(model: Path) -> str:
    """A hash of the files that decide a score."""
    found = hashlib.sha256()
    for path in sorted(model.glob("*")):
        if path.suffix in {".safetensors", ".json", ".txt", ".model"} and path.is_file():
            found.update(path.name.encode())
            with path.open("rb") as stream:
                found.update(hashlib.file_digest(stream, "sha256").digest())
    return found.hexdigest()[:16]
