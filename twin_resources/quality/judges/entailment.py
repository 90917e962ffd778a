"""Judges whether passages entail a sentence, with a configured entailment model.

Scope: loading the model, its label order, batches of pairs with fixed lengths, truncation.
Out of scope: the judge without a model (`sentence_support.py`), the quality of a judge.

A cross-encoder reads the passage and the sentence together and returns a probability for each label
(https://huggingface.co/docs/transformers/tasks/sequence_classification). The order of labels
depends on the model and is given in the configuration's `id2label`; labels are identified by name,
never by position. No quality is claimed for any model: the calibration on the author's own
sentences measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import digest
from twin_resources.quality.judges.model_folders import hash_model_files, resolve_model_folder

VERSION = "entailment-1"
PADDED_LENGTHS = (
    64,
    128,
    256,
    512,
)  # padded tokens per pair; fixed, so a score depends only on its pair
BATCH_TOKENS = 4096  # tokens per batch with padding: 64 pairs of 64, 8 of 512


class EntailmentModel:
    """Scores the probability that the best of some passages entails a sentence.

    Args:
        model_folder: the folder of a transformers model with a classification head
            (`resolve_entailment_folder`).
        name: the configured name; if empty, the folder is used.

    Attributes:
        name: `entailment by <name>`.
        revision: a hash that includes the files of the model.

    Raises:
        TwinError: the folder contains no such model, or not exactly one label is named entailment.
    """

    def __init__(self, model_folder: Path, *, name: str = "") -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.name = f"entailment by {name or model_folder}"
        attempted_action = f"load the entailment model {name or model_folder}"
        try:
            loaded: Any = AutoModelForSequenceClassification.from_pretrained(
                model_folder, use_safetensors=True, dtype=torch.float32
            )
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model_folder)
        except (OSError, ValueError) as error:
            raise TwinError(
                attempted_action,
                found=str(error).splitlines()[0],
                next_step="name a folder or hub id of a sequence classification model with "
                "safetensors in TWIN_NLI_MODEL, or unset it",
            ) from error
        self._entailment_index = _find_entailment_index(
            loaded.config.id2label, attempted_action=attempted_action
        )
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = loaded.eval().to(self._device)
        self._max_tokens = min(
            PADDED_LENGTHS[-1],
            int(self._tokenizer.model_max_length),
            # models of the RoBERTa family reserve two positions for padding
            int(getattr(loaded.config, "max_position_embeddings", PADDED_LENGTHS[-1] + 2)) - 2,
        )
        self.revision = digest(VERSION, hash_model_files(model_folder), self._max_tokens)

    def score(self, sentences_with_passages: Sequence[tuple[str, tuple[str, ...]]]) -> list[float]:
        """Return the scores of (sentence, passages) in order; 0 for a sentence without passages."""
        pairs = list(
            dict.fromkeys(
                (text, sentence)
                for sentence, passages in sentences_with_passages
                for text in passages
            )
        )
        entailed = dict(zip(pairs, self._probabilities(pairs), strict=True))
        return [
            max((entailed[text, sentence] for text in passages), default=0.0)
            for sentence, passages in sentences_with_passages
        ]

    def _probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the probability of entailment, in [0, 1], of each pair (passage, sentence)."""
        if not pairs:
            return []
        token_ids: Any = self._tokenizer([list(pair) for pair in pairs], verbose=False)["input_ids"]
        lengths = [len(ids) for ids in token_ids]
        buckets: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            bucket_length = next(
                (bound for bound in PADDED_LENGTHS if length <= bound), PADDED_LENGTHS[-1]
            )
            buckets.setdefault(min(bucket_length, self._max_tokens), []).append(index)
        probabilities = [0.0] * len(pairs)
        for padded_length, positions in sorted(buckets.items()):
            step = max(1, BATCH_TOKENS // padded_length)
            for start in range(0, len(positions), step):
                part = positions[start : start + step]
                values = self._score_batch([pairs[at] for at in part], padded_length)
                for index, value in zip(part, values, strict=True):
                    probabilities[index] = value
        return probabilities

    def _score_batch(self, pairs: Sequence[tuple[str, str]], padded_length: int) -> list[float]:
        import torch

        encoded: Any = self._tokenizer(
            [passage for passage, _ in pairs],
            [sentence for _, sentence in pairs],
            truncation="only_first",  # cut the passage; a cut sentence would be a different claim
            max_length=padded_length,
            padding="max_length",
            return_tensors="pt",
        ).to(self._device)
        with torch.inference_mode():
            logits: Any = self._model(**encoded).logits.float()
        return logits.softmax(-1)[:, self._entailment_index].cpu().tolist()


def resolve_entailment_folder(name: str, *, download_folder: Path) -> Path:
    """Return a model's local folder, or download the model from the hub to a folder in
    `download_folder`.

    Raises:
        TwinError: the name is not a local folder, and the hub does not provide the model.
    """
    return resolve_model_folder(
        name, download_folder=download_folder, kind="entailment model", setting="TWIN_NLI_MODEL"
    )


def _find_entailment_index(labels: dict[int, str], *, attempted_action: str) -> int:
    """Return the position of the label `entailment`, distinct from `not_entailment`."""
    indexes = [index for index, label in labels.items() if label.casefold().startswith("entail")]
    if len(indexes) != 1:
        raise TwinError(
            attempted_action,
            found=f"labels {', '.join(labels.values())}; exactly one must be named entailment",
            next_step="write the label names into id2label of its config.json, or set a "
            "different model in TWIN_NLI_MODEL",
        )
    return int(indexes[0])
