"""Judge whether passages entail a sentence, with a configured entailment model.

Scope: finding or downloading the model, loading it, its label order, batches of pairs with fixed
lengths, truncation.
Out of scope: the judge without a model (`sentence_support.py`), the quality of a judge.

A cross-encoder reads the passage and the sentence together and returns a probability for each label
(https://huggingface.co/docs/transformers/tasks/sequence_classification). The order of labels
depends on the model, so the code finds a label by its name in the configuration's `id2label`.
Calibration on the author's own sentences measures how good a model is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import digest

JUDGE_VERSION = "entailment-1"
# The patterns exclude code and pickles. They match in subfolders, which may configure pooling.
MODEL_FILE_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model")
# Tokens per padded pair. Fixed lengths make a score independent of other pairs.
PADDED_LENGTHS = (64, 128, 256, 512)
BATCH_TOKENS = 4096  # tokens per batch, including padding: 64 pairs of 64 tokens, or 8 pairs of 512


class EntailmentModel:
    """Scores the probability that the best of several passages entails a sentence.

    Args:
        model_folder: the folder of a transformers model with a classification head
            (`resolve_entailment_folder`).
        name: the configured name; if empty, the folder is the name.

    Attributes:
        name: `entailment by <name>`.
        revision: a hash that includes the model's files.

    Raises:
        TwinError: the folder does not contain a classification model, or the model does not have
            exactly one entailment label.
    """

    def __init__(self, model_folder: Path, *, name: str = "") -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.name = f"entailment by {name or model_folder}"
        action = f"load the entailment model {name or model_folder}"
        try:
            model: Any = AutoModelForSequenceClassification.from_pretrained(
                model_folder, use_safetensors=True, dtype=torch.float32
            )
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model_folder)
        except (OSError, ValueError) as error:
            raise TwinError(
                action,
                found=str(error).splitlines()[0],
                next_step="set TWIN_NLI_MODEL to the folder or hub id of a sequence classification "
                "model with safetensors, or unset it",
            ) from error
        self._entailment_index = _find_entailment_index(model.config.id2label, action=action)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = model.eval().to(self._device)
        self._max_tokens = min(
            PADDED_LENGTHS[-1],
            int(self._tokenizer.model_max_length),
            # Models of the RoBERTa family reserve two positions for padding.
            int(getattr(model.config, "max_position_embeddings", PADDED_LENGTHS[-1] + 2)) - 2,
        )
        self.revision = digest(JUDGE_VERSION, _hash_model_files(model_folder), self._max_tokens)

    def score(self, sentences_with_passages: Sequence[tuple[str, tuple[str, ...]]]) -> list[float]:
        """Return the score of each sentence in order; 0 for a sentence without passages."""
        pairs = list(
            dict.fromkeys(
                (text, sentence)
                for sentence, passages in sentences_with_passages
                for text in passages
            )
        )
        probability_by_pair = dict(zip(pairs, self._score_pairs(pairs), strict=True))
        return [
            max((probability_by_pair[text, sentence] for text in passages), default=0.0)
            for sentence, passages in sentences_with_passages
        ]

    def _score_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the entailment probability, in [0, 1], of each (passage, sentence) pair."""
        if not pairs:
            return []
        token_ids: Any = self._tokenizer([list(pair) for pair in pairs], verbose=False)["input_ids"]
        lengths = [len(ids) for ids in token_ids]
        buckets: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            bucket_length = next(
                (limit for limit in PADDED_LENGTHS if length <= limit), PADDED_LENGTHS[-1]
            )
            buckets.setdefault(min(bucket_length, self._max_tokens), []).append(index)
        probabilities = [0.0] * len(pairs)
        for padded_length, indexes in sorted(buckets.items()):
            batch_size = max(1, BATCH_TOKENS // padded_length)
            for start in range(0, len(indexes), batch_size):
                batch = indexes[start : start + batch_size]
                values = self._score_batch([pairs[index] for index in batch], padded_length)
                for index, value in zip(batch, values, strict=True):
                    probabilities[index] = value
        return probabilities

    def _score_batch(self, pairs: Sequence[tuple[str, str]], padded_length: int) -> list[float]:
        import torch

        batch: Any = self._tokenizer(
            [passage for passage, _ in pairs],
            [sentence for _, sentence in pairs],
            truncation="only_first",  # the passage: a truncated sentence would be another claim
            max_length=padded_length,
            padding="max_length",
            return_tensors="pt",
        ).to(self._device)
        with torch.inference_mode():
            logits: Any = self._model(**batch).logits.float()
        return logits.softmax(-1)[:, self._entailment_index].cpu().tolist()


def load_entailment(name: str, *, download_folder: Path) -> EntailmentModel:
    """Load the configured entailment model.

    Args:
        name: a folder, or the hub id of a model, which is downloaded into `download_folder`.

    Raises:
        TwinError: the model is not available, or is not an entailment model.
    """
    return EntailmentModel(
        resolve_entailment_folder(name, download_folder=download_folder), name=name
    )


def resolve_entailment_folder(name: str, *, download_folder: Path) -> Path:
    """Return a model's local folder, or download the model from the hub into `download_folder`.

    Raises:
        TwinError: the name is not a local folder, and the hub does not provide the model.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    target = download_folder / name.replace("/", "--")
    try:
        return Path(
            snapshot_download(name, local_dir=target, allow_patterns=list(MODEL_FILE_PATTERNS))
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise TwinError(
            f"find the entailment model {name}",
            found=f"there is no such folder, and the download from the hub failed: {error}",
            next_step="set TWIN_NLI_MODEL to a folder or a hub id, or unset it",
        ) from error


def _hash_model_files(folder: Path) -> str:
    """Return the SHA-256 of the files that determine a model's output, including subfolders."""
    files_digest = hashlib.sha256()
    suffixes = {pattern.removeprefix("*") for pattern in MODEL_FILE_PATTERNS}
    for path in sorted(folder.rglob("*")):
        relative_path = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in relative_path.parts)  # left by a download
        if path.suffix in suffixes and path.is_file() and not is_hidden:
            files_digest.update(relative_path.as_posix().encode())
            with path.open("rb") as stream:
                files_digest.update(hashlib.file_digest(stream, "sha256").digest())
    return files_digest.hexdigest()


def _find_entailment_index(labels: dict[int, str], *, action: str) -> int:
    """Return the index of the only label whose name starts with `entail`."""
    indexes = [index for index, label in labels.items() if label.casefold().startswith("entail")]
    if len(indexes) != 1:
        raise TwinError(
            action,
            found=f"labels {', '.join(labels.values())}; exactly one must be named entailment",
            next_step="correct the label names under id2label in the model's config.json, or set "
            "TWIN_NLI_MODEL to a different model",
        )
    return int(indexes[0])
