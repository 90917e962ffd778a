"""Judges whether passages entail a sentence, with an entailment model that a person names.

Scope: loading the model, its label order, batches of pairs with fixed lengths, truncation.
Out of scope: the judge without a model (`sentence_support.py`), the quality of a judge.

A cross-encoder reads passage and sentence together and returns a probability for each label
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
from twin_resources.quality.judges.named_folder import files_hash, named_folder

VERSION = "entailment-1"
LENGTHS = (64, 128, 256, 512)  # padded tokens per pair; fixed, so a score depends only on its pair
BATCH_TOKENS = 4096  # of one batch, padding included: 64 pairs of 64, 8 of 512


class EntailmentModel:
    """Scores the probability that the best of some passages entails a sentence.

    Args:
        model: the folder of a transformers model with a classification head (`entailment_folder`).
        name: the name as a person wrote it; if empty, the folder is used.

    Attributes:
        name: `entailment by <name>`.
        revision: a hash that includes the files of the model.

    Raises:
        TwinError: the folder contains no such model, or not exactly one label is named entailment.
    """

    def __init__(self, model: Path, *, name: str = "") -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.name = f"entailment by {name or model}"
        tried = f"load the entailment model {name or model}"
        try:
            loaded: Any = AutoModelForSequenceClassification.from_pretrained(
                model, use_safetensors=True, dtype=torch.float32
            )
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise TwinError(
                tried,
                found=str(error).splitlines()[0],
                next_step="name a folder or hub id of a sequence classification model with "
                "safetensors in TWIN_NLI_MODEL, or unset it",
            ) from error
        self._entails = _place_of_entailment(loaded.config.id2label, tried=tried)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = loaded.eval().to(self._device)
        self._most = min(
            LENGTHS[-1],
            int(self._tokenizer.model_max_length),
            # models of the RoBERTa family reserve two positions for padding
            int(getattr(loaded.config, "max_position_embeddings", LENGTHS[-1] + 2)) - 2,
        )
        self.revision = digest(VERSION, files_hash(model), self._most)

    def score(self, held: Sequence[tuple[str, tuple[str, ...]]]) -> list[float]:
        """Return the scores of (sentence, passages) in order; 0 for a sentence without passages."""
        pairs = list(
            dict.fromkeys((text, sentence) for sentence, passages in held for text in passages)
        )
        entailed = dict(zip(pairs, self._probabilities(pairs), strict=True))
        return [
            max((entailed[text, sentence] for text in passages), default=0.0)
            for sentence, passages in held
        ]

    def _probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the probability of entailment, in [0, 1], of each pair (passage, sentence)."""
        if not pairs:
            return []
        whole: Any = self._tokenizer([list(pair) for pair in pairs], verbose=False)["input_ids"]
        lengths = [len(ids) for ids in whole]
        buckets: dict[int, list[int]] = {}
        for at, length in enumerate(lengths):
            fits = next((bound for bound in LENGTHS if length <= bound), LENGTHS[-1])
            buckets.setdefault(min(fits, self._most), []).append(at)
        probabilities = [0.0] * len(pairs)
        for padded, positions in sorted(buckets.items()):
            step = max(1, BATCH_TOKENS // padded)
            for start in range(0, len(positions), step):
                part = positions[start : start + step]
                values = self._batch([pairs[at] for at in part], padded)
                for at, value in zip(part, values, strict=True):
                    probabilities[at] = value
        return probabilities

    def _batch(self, pairs: Sequence[tuple[str, str]], padded: int) -> list[float]:
        import torch

        encoded: Any = self._tokenizer(
            [passage for passage, _ in pairs],
            [sentence for _, sentence in pairs],
            truncation="only_first",  # cut the passage; a cut sentence would be another claim
            max_length=padded,
            padding="max_length",
            return_tensors="pt",
        ).to(self._device)
        with torch.inference_mode():
            logits: Any = self._model(**encoded).logits.float()
        return logits.softmax(-1)[:, self._entails].cpu().tolist()


def entailment_folder(name: str, *, into: Path) -> Path:
    """Return a model's local folder, or download the model from the hub to a folder in `into`.

    Raises:
        TwinError: the name is not a local folder, and the hub does not provide the model.
    """
    return named_folder(name, into=into, kind="entailment model", setting="TWIN_NLI_MODEL")


def _place_of_entailment(labels: dict[int, str], *, tried: str) -> int:
    """Return the position of the label `entailment`, distinct from `not_entailment`."""
    places = [at for at, label in labels.items() if label.casefold().startswith("entail")]
    if len(places) != 1:
        raise TwinError(
            tried,
            found=f"labels {', '.join(labels.values())}; exactly one must be named entailment",
            next_step="write the names of its labels into id2label of its config.json, or name "
            "another model in TWIN_NLI_MODEL",
        )
    return int(places[0])
