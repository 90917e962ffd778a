"""Mix a general instruction set into the training samples so that a twin keeps basic skills.

Scope: reading a set from a file, a folder or the model hub, and choosing its share. Out of scope:
the author's own samples, storing (`building.py`).

A set is a JSON Lines, JSON, CSV or Parquet file. Its rows have chat messages (`messages`, or
ShareGPT's `conversations`) or two texts (`prompt` and `completion`, `instruction`, `input` and
`output`, `question` and `answer`). The rows are used unchanged, with their own system prompt and
without passages.

Method: rehearsal against forgetting, Scialom et al., 2022, https://arxiv.org/abs/2205.12393.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import polars as pl

from twin_assets.instructions.leakage import QUESTION_SIMILARITY_THRESHOLD
from twin_assets.instructions.similar_keys import similar_pairs, split_words
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.storage.storage_faults import translate_disk_full

GENERAL = "general"  # the split and the document of a general sample
MAX_SAMPLE_CHARACTERS = 6_000  # per sample; training leaves out longer samples
_FILE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
_QUESTION_ANSWER_COLUMNS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
)
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w.-]+)?")


@dataclass(frozen=True)
class GeneralSample:
    """One sample.

    Attributes:
        sample_id: an id that is derived from the messages.
        messages: pairs of role and content, stripped; the last message is the assistant's.
    """

    sample_id: str
    messages: tuple[tuple[str, str], ...]

    @property
    def question(self) -> str:
        return self.messages[-2][1]

    @property
    def answer(self) -> str:
        return self.messages[-1][1]


@dataclass(frozen=True)
class GeneralSet:
    """A general set as read.

    Attributes:
        source: `<name>@<revision>`. The revision is the hash of the content for a file or folder,
            and the commit for a data set of the hub.
        samples: the samples, one per distinct question.
        unreadable: the number of rows that are not a chat or are too long.
    """

    source: str
    samples: tuple[GeneralSample, ...]
    unreadable: int

    def draw_mix(
        self, *, training: int, share: float, excluded_questions: Sequence[str] = ()
    ) -> GeneralSetMix:
        """Return samples for this share of all training samples, or all samples if there are fewer.

        Args:
            training: the number of the author's own training samples.
            share: the share, 0 to 0.5.
            excluded_questions: the gate's questions and the questions of the author's samples. A
                model trained on questions similar to the gate's would pass the gate, and each of
                the author's questions must be unique.
        """
        excluded_ids = _similar_sample_ids(self.samples, excluded_questions)
        candidates = [sample for sample in self.samples if sample.sample_id not in excluded_ids]
        selected_samples = sort_by_hash(candidates)[: count_samples_needed(training, share)]
        total = training + len(selected_samples)
        return GeneralSetMix(
            source=self.source,
            samples=tuple(selected_samples),
            share=round(len(selected_samples) / total, 4) if total else 0.0,
            asked_share=share,
            left_to_the_gate=len(excluded_ids),
            unreadable=self.unreadable,
        )


@dataclass(frozen=True)
class GeneralSetMix:
    """The general samples that were mixed in.

    Attributes:
        share: their share of all training samples.
        asked_share: the share in the settings; a small set provides less.
        left_to_the_gate: the number of samples left out because the gate or an author's sample has
            the same question.
        unreadable: as in `GeneralSet`.
    """

    source: str
    samples: tuple[GeneralSample, ...]
    share: float
    asked_share: float
    left_to_the_gate: int
    unreadable: int

    def metadata(self) -> dict[str, Any]:
        """Return metadata for a person, without any text of a sample."""
        return {"general": {**vars(self), "samples": len(self.samples)}}


def count_samples_needed(training: int, share: float) -> int:
    """Return the number of general samples that make up this share of all training samples.

    Args:
        training: the number of the author's own training samples.
        share: the share, 0 to 0.5.
    """
    return round(training * share / (1 - share))


def sort_by_hash(samples: Sequence[GeneralSample]) -> list[GeneralSample]:
    """Sort samples by hash, so that adding or removing samples changes few of the first samples."""
    hashes = {
        sample: hashlib.sha256(f"mix/{sample.sample_id}".encode()).digest() for sample in samples
    }
    return sorted(samples, key=hashes.__getitem__)


def _similar_sample_ids(samples: Sequence[GeneralSample], questions: Sequence[str]) -> set[str]:
    """Return the ids of the samples whose question is similar to one of these."""
    sample_words = {sample.sample_id: frozenset(split_words(sample.question)) for sample in samples}
    question_words = {question: frozenset(split_words(question)) for question in questions}
    return {
        pair.left
        for pair in similar_pairs(
            sample_words, question_words, threshold=QUESTION_SIMILARITY_THRESHOLD
        )
    }


def read_general_set(name: str, settings: Settings) -> GeneralSet:
    """Read a set by path (file or folder) or hub id (`owner/name`, `owner/name@revision`).

    Raises:
        TwinError: the set does not exist, or contains no chat.
    """
    action = f"read the general instruction set {name!r}"
    path = Path(name).expanduser()
    if path.exists():
        files = [path] if path.is_file() else sorted(_list_dataset_files(path))
        source = f"{path.name}@{_content_hash(files)}"
    elif _HUB_ID.fullmatch(name):
        files, source = _download_from_hub(name, settings, action)
    else:
        raise TwinError(
            action,
            found="neither an existing path nor a Hugging Face id (owner/name)",
            next_step="set TWIN_GENERAL_SET to a file, a folder or an id, or leave it empty",
        )
    samples, unreadable_count = _parse_samples(
        [row for file in files for row in _read_rows(file, action)]
    )
    if not samples:
        raise TwinError(
            action,
            found=f"{len(files)} files with {unreadable_count} rows, none of which is a chat",
            next_step="give each row `messages` (role, content), or `prompt` and `completion`; "
            f"supported files: {', '.join(_FILE_SUFFIXES)}",
        )
    return GeneralSet(source, samples, unreadable_count)


def _list_dataset_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in _FILE_SUFFIXES and path.is_file())


def _content_hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:12]


def _download_from_hub(name: str, settings: Settings, action: str) -> tuple[list[Path], str]:
    """Return the files of a dataset's training split, and `<id>@<commit>`."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    hub: Any = import_module("huggingface_hub")  # many of its types are unknown
    owner_name, _, revision = name.partition("@")
    try:
        api = hub.HfApi()
        info = api.dataset_info(owner_name, revision=revision or None)
        file_names = [
            file.rfilename for file in info.siblings or () if _is_readable(file.rfilename)
        ]
        training_files = [file for file in file_names if "train" in file.lower()] or file_names
        with translate_disk_full(action, settings.weights_dir):
            files = [
                Path(
                    api.hf_hub_download(
                        owner_name,
                        file,
                        repo_type="dataset",
                        revision=info.sha,
                        cache_dir=settings.weights_dir / "hub",
                    )
                )
                for file in sorted(training_files)
            ]
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
        raise TwinError(
            action,
            found=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}",
            next_step="check the id, the network and HF_TOKEN, or specify a file or folder",
        ) from error
    return files, f"{owner_name}@{(info.sha or '')[:12]}"


def _is_readable(file: str) -> bool:
    return file.endswith(_FILE_SUFFIXES) and not Path(file).name.startswith("dataset_info")


def _read_rows(file: Path, action: str) -> list[dict[str, Any]]:
    try:
        if file.suffix == ".parquet":
            return pl.read_parquet(file).to_dicts()
        if file.suffix == ".csv":
            return pl.read_csv(file, infer_schema=False).to_dicts()
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            document: Any = json.loads(text)
            return cast("list[dict[str, Any]]", document) if isinstance(document, list) else []
        # Not splitlines(): a text may contain U+2028 and other characters that end a line only in
        # Python.
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise TwinError(
            action,
            found=f"{file.name}: {str(error).splitlines()[0]}",
            next_step="fix the file, or specify another one; "
            f"supported files: {', '.join(_FILE_SUFFIXES)}",
        ) from error


def _parse_samples(rows: Iterable[object]) -> tuple[tuple[GeneralSample, ...], int]:
    """Return the samples in row order; the first of several with the same question is kept."""
    samples: dict[str, GeneralSample] = {}
    unreadable_count = 0
    for row in rows:
        messages = _parse_messages(cast("Mapping[str, Any]", row)) if isinstance(row, dict) else ()
        if not _is_chat(messages):
            unreadable_count += 1
            continue
        digest = hashlib.sha256(json.dumps(messages).encode()).hexdigest()[:16]
        sample = GeneralSample(f"{GENERAL}-{digest}", messages)
        samples.setdefault(" ".join(split_words(sample.question)), sample)
    return tuple(samples.values()), unreadable_count


def _parse_messages(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    turns: Any = row.get("messages") or row.get("conversations")
    if isinstance(turns, list):
        parts = [
            cast("Mapping[str, Any]", turn)
            for turn in cast("list[object]", turns)
            if isinstance(turn, dict)
        ]
        roles = [str(part.get("role") or part.get("from") or "") for part in parts]
        texts = [str(part.get("content", part.get("value")) or "").strip() for part in parts]
        return tuple(
            (_ROLES.get(role, role), text) for role, text in zip(roles, texts, strict=True)
        )
    for question, answer in _QUESTION_ANSWER_COLUMNS:
        if isinstance(row.get(question), str) and isinstance(row.get(answer), str):
            extra_input = row.get("input")
            prompt = "\n\n".join(
                text.strip()
                for text in (row[question], extra_input)
                if isinstance(text, str) and text
            )
            return (("user", prompt), ("assistant", row[answer].strip()))
    return ()


def _is_chat(messages: Sequence[tuple[str, str]]) -> bool:
    """Return whether user and assistant alternate after an optional system prompt.

    Every message must contain text.
    """
    roles = [role for role, _ in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    return (
        len(turns) >= 2
        and turns == ["user", "assistant"] * (len(turns) // 2)
        and all(split_words(text) for _, text in messages)
        and sum(len(text) for _, text in messages) <= MAX_SAMPLE_CHARACTERS
    )
