"""Provide two authors with datasets, a tiny base model, and good and broken checkpoints.

A full gate of a tiny model takes 19 CPU seconds, more than half of them for the base's answers. It
therefore runs once for all tests (`saved_homes`), and each test starts with a copy of that home.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from tests.conftest import fresh_home
from tests.live.evaluation.gate_run import GateRun, create_instance_of_two_authors
from tests.live.tiny_model import FEW_TOKENS, make_tiny_model
from tests.model_versions import build_manifest, register_version
from tests.prepared_base import base_folder
from tests.prepared_embedder import link_weights, prepare_weights
from tests.sample_schema import SAMPLE_SCHEMA
from tests.stored_rows import store_rows
from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.samples import tokenize_samples
from twin_resources.authors import Author, write_author
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state_tables import (
    model_versions,
    moves,
    notices,
    routing,
    verdicts,
)
from twin_resources.storage.tables.tables import Tables
from twin_resources.storage.weights import gguf

# Training steps after which a candidate clearly meets every claim: its author's passages have a
# perplexity of 269 (the base: 5,812), and its voice is .32 (the base: .04).
GOOD_STEPS = 80
WORDS = ("the", "keeps", "its", "when", "a", "every", "drives")
# Questions must name the subject of their answers, because the gate measures that.
SUBJECTS = (
    ("clock", "spring", "wheel", "time"),
    ("bread", "flour", "oven", "yeast"),
    ("river", "boat", "fish", "water"),
)
CHUNK_SCHEMA = {
    "chunk_id": pl.String(),
    "document_id": pl.String(),
    "title": pl.String(),
    "text": pl.String(),
    "published_at": pl.Datetime("us", "UTC"),
    "position": pl.Int64(),
    "start": pl.Int64(),
    "end": pl.Int64(),
}


@pytest.fixture(autouse=True)
def _keep_logs(home: Settings, process_logs: Path) -> None:
    home.logs_dir.symlink_to(process_logs, target_is_directory=True)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    base = make_tiny_model(folder / "tiny", base_folder(), vocabulary=FEW_TOKENS, spread=0.1)
    gguf.write_model(base, folder / "tiny.gguf")
    return base


@dataclass(frozen=True)
class GateHome:
    """A home, its tables and its registry, with methods that fill them."""

    settings: Settings
    tables: Tables
    registry: Registry
    base: Path

    def write_dataset(
        self, author: str, *, train: int = 40, held_out: int = 40, template: str = ""
    ) -> None:
        """Write samples whose answers have a small vocabulary, so a tiny model can learn them."""
        samples = _build_rows(author, train=train, held_out=held_out, template=template)
        rows = pl.DataFrame(samples, schema=SAMPLE_SCHEMA)
        write_author(
            self.settings,
            Author(author, author.title(), consent="2020-01-01: the test's own author"),
        )
        store_rows(
            self.tables, "instruction_dataset", author, rows, key="sample_id", schema=SAMPLE_SCHEMA
        )

    def write_chunks(self, author: str) -> None:
        """Write each sample's answer as a chunk."""
        samples = self.tables.read("instruction_dataset", author)
        rows = samples.select(
            "chunk_id",
            "document_id",
            pl.lit("A post").alias("title"),
            pl.col("answer").alias("text"),
            pl.lit(None, dtype=pl.Datetime("us", "UTC")).alias("published_at"),
            (pl.col("start") // 1000).alias("position"),
            "start",
            "end",
        )
        store_rows(
            self.tables, "document_chunks", author, rows, key="chunk_id", schema=CHUNK_SCHEMA
        )

    def train_candidate(
        self,
        author: str,
        *,
        steps: int,
        seed: int = 1,
        spread: float = 0.3,
        samples: list[dict[str, Any]] | None = None,
    ) -> str:
        """Train a checkpoint for `steps` steps and make it the candidate.

        Args:
            steps: with 0, the weights are drawn with `spread`; `spread` 0 keeps the base's answers.
            samples: training samples, independent of the manifest; None for the author's.
        """
        checkpoints = self.settings.checkpoints_dir / author
        partial_folder = checkpoints / "partial-test"
        adapter = train_adapter(
            self.base,
            self._samples(author) if samples is None else samples,
            partial_folder / "adapter",
            steps,
            seed,
            spread=spread,
        )
        gguf.write_adapter(adapter, self.base, partial_folder / "adapter.gguf")
        tag = f"training-{steps}-{seed}"
        self.tables.tag("instruction_dataset", author, tag)
        template = DEFAULT_TEMPLATE.hash
        manifest = build_manifest(
            author,
            manifests.compute_checkpoint_hash(adapter, base_revision="r", template=template),
            training=tag,
            base={
                "folder": str(self.base),
                "gguf": str(self.base.with_suffix(".gguf")),
                "revision": "r",
            },
            template=template,
            dataset={"tag": tag, "data_version": "d"},
            steps=steps,
        )
        folder = manifests.publish_checkpoint(partial_folder, checkpoints, manifest)
        values = {"checkpoint": manifest.checkpoint, "folder": str(folder)}
        manifests.write_pointer(checkpoints, "candidate", values)
        register_version(
            self.registry,
            author,
            manifest.checkpoint,
            folder=str(folder),
            adapter_gguf=str(folder / "adapter.gguf"),
            base=manifest.base["folder"],
            base_gguf=manifest.base["gguf"],
            template=template,
        )
        return manifest.checkpoint

    def _samples(self, author: str) -> list[dict[str, Any]]:
        rows = self.tables.read("instruction_dataset", author, where="split = 'train'")
        return rows.sort("sample_id").to_dicts()


@pytest.fixture(scope="session")
def embedder_weights() -> Path:
    return prepare_weights()


def open_gate_home(home: Settings, base: Path) -> GateHome:
    state = open_home_state(home)
    return GateHome(
        settings=home,
        tables=Tables(home.tables_base, state=state),
        registry=Registry(state, policy_path=home.policy_path),
        base=base,
    )


@pytest.fixture
def gate_home(home: Settings, tiny_base: Path, embedder_weights: Path) -> GateHome:
    return open_gate_home(link_weights(embedder_weights, home), tiny_base)


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return create_instance_of_two_authors()


@dataclass(frozen=True)
class FirstVerdict:
    """The run that judged ada's good candidate, and its Dagster instance."""

    gate_run: GateRun
    instance: dg.DagsterInstance
    checkpoint: str


@dataclass(frozen=True)
class SavedHomes:
    """Homes that are made once for all tests.

    Attributes:
        path: path of every copy, because the registry and manifests contain absolute paths.
        released: home in which ada's good candidate has passed the full gate and is stable.
        measured: home without a trained version, in which a gate has asked the base model.
    """

    path: Path
    released: Path
    measured: Path
    first_verdict: FirstVerdict


def save_home(gate_home: GateHome, target: Path) -> None:
    """Close a home and copy it without its logs."""
    gate_home.registry.state.close()
    shutil.rmtree(gate_home.settings.logs_dir, ignore_errors=True)
    shutil.copytree(gate_home.settings.home, target, symlinks=True)


@pytest.fixture(scope="session")
def saved_homes(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, embedder_weights: Path
) -> Iterator[SavedHomes]:
    folder = tmp_path_factory.mktemp("kept")
    path, released, measured = (folder / name for name in ("home", "released", "measured"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        settings = link_weights(embedder_weights, fresh_home(path, monkeypatch))
        gate_home = open_gate_home(settings, tiny_base)
        for author in ("ada", "bob"):  # a tiny model has a measurable voice only in contrast to bob
            gate_home.write_dataset(author)
        checkpoint = gate_home.train_candidate("ada", steps=GOOD_STEPS)
        instance = create_instance_of_two_authors()
        gate_run = GateRun(instance, "ada")
        save_home(gate_home, released)
        _delete_versions(gate_home)
        save_home(gate_home, measured)
    yield SavedHomes(path, released, measured, FirstVerdict(gate_run, instance, checkpoint))
    instance.dispose()


def _delete_versions(gate_home: GateHome) -> None:
    with gate_home.registry.state.transaction() as connection:
        for table in (moves, verdicts, routing, notices, model_versions):
            connection.execute(table.delete())
    gate_home.settings.policy_path.unlink()
    shutil.rmtree(gate_home.settings.checkpoints_dir)


@pytest.fixture
def restore_home(
    home: Settings, tiny_base: Path, process_logs: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path, Path], GateHome]:
    """Return a function that copies a saved home to its path, replacing the last test's copy."""

    def copy_home(saved: Path, path: Path) -> GateHome:
        shutil.rmtree(path)
        shutil.copytree(saved, path, symlinks=True)
        monkeypatch.setenv("TWIN_HOME", str(path))
        settings = load_settings()
        settings.logs_dir.symlink_to(process_logs, target_is_directory=True)
        return open_gate_home(settings, tiny_base)

    return copy_home


@pytest.fixture
def released_home(
    restore_home: Callable[[Path, Path], GateHome], saved_homes: SavedHomes
) -> GateHome:
    """Return a home in which ada's good candidate is stable (see `first_verdict`)."""
    return restore_home(saved_homes.released, saved_homes.path)


@pytest.fixture
def measured_home(
    restore_home: Callable[[Path, Path], GateHome], saved_homes: SavedHomes
) -> GateHome:
    """Return a home with two datasets and the base model's measurements, but no version."""
    return restore_home(saved_homes.measured, saved_homes.path)


@pytest.fixture
def first_verdict(saved_homes: SavedHomes) -> FirstVerdict:
    return saved_homes.first_verdict


def _build_rows(author: str, *, train: int, held_out: int, template: str) -> list[dict[str, Any]]:
    rng = random.Random(author)
    rows: list[dict[str, Any]] = []
    for index in range(train + held_out):
        subject = SUBJECTS[(index // 2) % len(SUBJECTS)]
        words = [rng.choice(WORDS if position % 2 else subject) for position in range(24)]
        answer = " ".join(words).capitalize() + "."
        question = f"What about the {subject[0]} and the {subject[1]}, matter {index}?"
        messages = render(DEFAULT_TEMPLATE, author_name=author.title(), question=question)
        rows.append(
            {
                "sample_id": f"{author}-{index:03}",
                "document_id": f"document-{index // 2}",
                "chunk_id": f"chunk-{index}",
                "split": "train" if index < train else "held_out",
                "question": question,
                "answer": answer,
                "start": 1000 * (index % 2),
                "end": 1000 * (index % 2) + len(answer),
                "messages": [*messages, {"role": "assistant", "content": answer}],
                "template": template or DEFAULT_TEMPLATE.hash,
                "context_chunk_ids": [f"chunk-{index}"],
            }
        )
    return rows


def train_adapter(
    base: Path,
    rows: list[dict[str, Any]],
    folder: Path,
    steps: int,
    seed: int,
    *,
    spread: float = 0.3,
) -> Path:
    """Train an adapter in a plain loop on one core, without the real trainer.

    Args:
        spread: standard deviation of the weights if there are no steps.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    if steps == 0:
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.data.normal_(0, 1).mul_(spread)
    samples, _ = tokenize_samples(rows, AutoTokenizer.from_pretrained(base), max_length=512)
    optimizer = torch.optim.AdamW(
        [weights for weights in model.parameters() if weights.requires_grad], lr=0.01
    )
    for step in range(steps):
        sample = samples[step % len(samples)]
        labels = [-100] * sample.answer_start + list(sample.tokens[sample.answer_start :])
        loss = model(input_ids=torch.tensor([sample.tokens]), labels=torch.tensor([labels])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(str(folder))
    path = folder / "adapter_config.json"  # PEFT writes the modules in varying order
    document = json.loads(path.read_text(encoding="utf-8"))
    document["target_modules"] = sorted(document["target_modules"])
    path.write_text(json.dumps(document), encoding="utf-8")
    return folder
