"""Embed text as unit vectors, for tables, training data and the gateway.

Method: sentence-transformers' mean (or first-token) pooling and L2 norm,
https://arxiv.org/abs/1908.10084. OpenVINO computes them without torch, in bfloat16 if that is
faster. The result does not depend on the batches (tested bit for bit), so a table filled in two
parts equals one filled at once. On a GPU, the last bits depend on the batches.
"""
# pyright: strict

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from twin_resources.errors import TwinError
from twin_resources.models.embedder.engines import Engine, open_engine, open_gpu_engine
from twin_resources.processes.processor import count_usable_cores
from twin_resources.settings import Settings
from twin_resources.storage.weights.weights import embedder_folder

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

SCHEMA_VERSION = 1
BUCKET_TOKENS = 16  # multiples of 64 reduced the speed by 15 % for chunks and by half for questions
# sentence-transformers takes 11 s to load; four threads embed about this many tokens in that time.
GPU_MIN_TOKENS = 200_000
MAX_THREADS = 4
# Mean and standard deviation of the cosines of unrelated questions under all-MiniLM-L6-v2.
COMMON_UNRELATED, COMMON_SPREAD = 0.054, 0.081


@dataclass(frozen=True)
class EmbedderManifest:
    """`embedder.json` in the folder of a prepared embedder.

    Attributes:
        embedder: name of the embedder in the settings.
        revision: hash of the weights, the tokenizer and the conversion; vectors of different
            revisions are not comparable.
        dimension: length of a vector.
        token_limit: longest input in tokens, special tokens included.
        pad_id: padding token.
        languages: ISO 639-1 codes in the model card; empty if it lists none.
        source: the SHA-256 of a wheel or a folder, or a hub id.
        question_prefix, passage_prefix: prefixes that the model requires; may be empty.
        agreement: smallest cosine between this embedder and transformers in fp32, measured at
            preparation.
        unrelated: mean cosine of a question and an unrelated text, measured at preparation.
        identical: mean cosine of a question and the same text as a passage; below 1 if the model's
            prefixes differ.
    """

    embedder: str
    revision: str
    dimension: int
    token_limit: int
    pad_id: int
    languages: tuple[str, ...]
    source: str
    agreement: float
    unrelated: float = COMMON_UNRELATED
    identical: float = 1.0
    question_prefix: str = ""
    passage_prefix: str = ""
    schema: int = SCHEMA_VERSION


class Embedder:
    """A prepared embedder in memory; safe to call from several threads.

    Args:
        folder: a folder that `prepare_embedder` published.
        manifest: its manifest.
        threads: CPU threads per call; by default one for each available core, at most 4.
        engine: `openvino` or `sentence-transformers`; empty for OpenVINO if the folder has it.
        allow_gpu: whether an embedder with an empty `engine` may switch to a GPU after enough
            tokens to justify loading it.

    Raises:
        TwinError: the folder was not prepared for the engine.
    """

    def __init__(
        self,
        folder: Path,
        manifest: EmbedderManifest,
        *,
        threads: int | None = None,
        engine: str = "",
        allow_gpu: bool = False,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        threads = threads or min(MAX_THREADS, count_usable_cores())
        self._engine = open_engine(folder, engine, threads=threads)
        self._may_switch_to_gpu = allow_gpu and not engine
        self._embedded_token_count = 0
        self._switch_lock = Lock()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, which neither truncates nor pads; offsets are in characters."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        # MiniLM's file truncates and pads to 128 tokens, which would drop half of a long text.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @property
    def token_limit(self) -> int:
        """Longest input in tokens, special tokens included."""
        return self.manifest.token_limit

    @property
    def dimension(self) -> int:
        return self.manifest.dimension

    @property
    def revision(self) -> str:
        return self.manifest.revision

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639-1 codes in the model card; empty if unknown."""
        return self.manifest.languages

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count each text's tokens, special tokens included."""
        return [len(encoding.ids) for encoding in self.tokenizer.encode_batch_fast(list(texts))]

    def embed(
        self,
        texts: Sequence[str],
        *,
        are_questions: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> np.ndarray:
        """Embed texts.

        Args:
            texts: n texts. A text longer than `token_limit` is split into windows of that length
                and gets the mean of their vectors, so nothing is truncated.
            are_questions: whether to use the question prefix instead of the passage prefix.
            progress: called with (completed batches, total batches) after each batch.

        Returns:
            float32 of shape (n, dimension), each row of norm 1, in the order of the texts.
        """
        import numpy as np

        prefix = self.manifest.question_prefix if are_questions else self.manifest.passage_prefix
        windows = self._split_into_windows(texts, prefix)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        lengths = [len(window.ids) for window in windows]
        engine = self._select_engine(sum(lengths))
        batches = _group_into_batches(lengths, max_tokens=engine.batch_tokens)
        for number, indexes in enumerate(batches, start=1):
            batch = [windows[index] for index in indexes]
            width = -(-max(lengths[index] for index in indexes) // BUCKET_TOKENS) * BUCKET_TOKENS
            ids = np.full((len(batch), width), self.manifest.pad_id, dtype=np.int64)
            mask = np.zeros((len(batch), width), dtype=np.int64)
            for row, window in enumerate(batch):
                ids[row, : len(window.ids)] = window.ids
                mask[row, : len(window.ids)] = 1
            np.add.at(vectors, [window.text_index for window in batch], engine(ids, mask))
            if progress is not None:
                progress(number, len(batches))
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(norms, 1e-12)

    def to_common_scale(self, cosine: float) -> float:
        """Return a cosine as the default embedder would give it, so that limits fit all embedders.

        Cosines of unrelated texts are about 0 under MiniLM and .8 under E5; those of identical
        texts 1 and .97. Of 60 tuning questions, the quoter's limit then declines 5 under both
        models; a scale by mean and standard deviation of the unrelated ones declined 21 under E5.
        """
        share = (cosine - self.manifest.unrelated) / (
            self.manifest.identical - self.manifest.unrelated
        )
        return COMMON_UNRELATED + (1.0 - COMMON_UNRELATED) * share

    def _select_engine(self, token_count: int) -> Engine:
        """Return the engine for a call with this many tokens: the GPU engine if the total is large.

        Tokens are counted across calls, because an import embeds a thousand posts at a time.
        """
        with self._switch_lock:
            self._embedded_token_count += token_count
            if self._may_switch_to_gpu and self._embedded_token_count >= GPU_MIN_TOKENS:
                self._may_switch_to_gpu = False
                self._engine = open_gpu_engine(self.folder) or self._engine
            return self._engine

    def _split_into_windows(self, texts: Sequence[str], prefix: str) -> list[_Window]:
        """Split each text into windows within the limit; only the first contains the prefix."""
        tokenizer = self.tokenizer
        texts = [prefix + text for text in texts] if prefix else texts
        content_token_limit = self.token_limit - tokenizer.num_special_tokens_to_add(False)
        windows: list[_Window] = []
        for text_index, encoding in enumerate(tokenizer.encode_batch_fast(list(texts))):
            if len(encoding.ids) <= self.token_limit:
                windows.append(_Window(text_index, encoding.ids))
                continue
            full_encoding = tokenizer.encode(texts[text_index], add_special_tokens=False)
            full_encoding.truncate(content_token_limit)
            windows += [
                _Window(text_index, tokenizer.post_process(piece).ids)
                for piece in (full_encoding, *full_encoding.overflowing)
            ]
        return windows


class _Window(NamedTuple):
    """The part of a text that is embedded at once: the text's index and the token ids."""

    text_index: int
    ids: list[int]


def _group_into_batches(lengths: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Group indexes by length bucket, with at most `max_tokens` tokens in a group after padding."""
    buckets: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        buckets.setdefault(-(-max(length, 1) // BUCKET_TOKENS) * BUCKET_TOKENS, []).append(index)
    return [
        indexes[start : start + batch_size]
        for width, indexes in sorted(buckets.items())
        for batch_size in [max(1, max_tokens // width)]
        for start in range(0, len(indexes), batch_size)
    ]


def find_prepared_embedder(settings: Settings) -> tuple[Path, EmbedderManifest]:
    """Return the folder and the manifest of the configured embedder.

    Raises:
        TwinError: it has not been prepared, or a newer release prepared it.
    """
    folder = embedder_folder(settings)
    action = f"load the embedder {settings.embedder}"
    prepare_command = "run `python -m twin_resources.models.embedder prepare`"
    try:
        revision = json.loads((folder / "current.json").read_text(encoding="utf-8"))["revision"]
        document = json.loads((folder / revision / "embedder.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TwinError(action, found=f"no {error.filename}", next_step=prepare_command) from error
    if document["schema"] > SCHEMA_VERSION:
        raise TwinError(
            action,
            found=f"{folder / revision} has schema version {document['schema']}; this code reads "
            f"up to {SCHEMA_VERSION}",
            next_step="run the newer release that wrote it, or delete the folder and "
            + prepare_command,
        )
    return folder / revision, _parse_manifest(document)


def _parse_manifest(document: dict[str, Any]) -> EmbedderManifest:
    document["languages"] = tuple(document["languages"])
    return EmbedderManifest(**document)


def load_embedder(
    settings: Settings, *, threads: int | None = None, allow_gpu: bool = True
) -> Embedder:
    """Load the configured embedder (see `Embedder`), in about 0.5 s with OpenVINO.

    Raises:
        TwinError: it has not been prepared.
    """
    folder, manifest = find_prepared_embedder(settings)
    return Embedder(folder, manifest, threads=threads, allow_gpu=allow_gpu)


def load_revision(settings: Settings, revision: str) -> Embedder | None:
    """Load a prepared embedder by its revision, regardless of the settings, or return None.

    It uses one CPU thread, like the gateway's embedder, because it embeds single questions.
    """
    for file in settings.weights_dir.glob(f"*/{glob.escape(revision)}/embedder.json"):
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["schema"] <= SCHEMA_VERSION:
            return Embedder(file.parent, _parse_manifest(document), threads=1)
    return None
