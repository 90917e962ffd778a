"""Embedding: chunks per CPU second, OpenVINO beside sentence-transformers in fp32.

    python tests/bench/bench_embedding.py --quick|--full [--json FILE]

All see the same chunks of the shared posts in turns of 128, in one process, each with one thread,
so that each may sort a turn by length. sentence-transformers runs as it comes (batches of 32), with
batches of 8, and in bfloat16 with batches of 8. Beside busy neighbours the bfloat16 kernels lost
half of their speed (59 to 29 chunks a CPU second), fp32 a third (15 to 10): run it alone.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch are loaded

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from tests.bench.knowledge import corpus
from tests.bench.knowledge.rows import row, show
from tests.bench.retraining.rows import Row
from tests.bench.rows import bench_parser
from twin_resources.models.embedder.embedder import Embedder, find_prepared
from twin_resources.models.embedder.engines import native_precision
from twin_resources.models.embedder.preparation import fetch_model
from twin_resources.settings import Settings

TURN = 128
DEFAULT, TUNED = "sentence-transformers fp32", "sentence-transformers bf16, batches of 8"
Embed = Callable[[list[str]], np.ndarray]


def throughput(home: Settings, model: Path, *, chunks: int) -> list[Row]:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    texts = corpus.chunks_of(corpus.documents("skeeto").head(chunks), home)["text"].to_list()
    texts = texts[:chunks]
    folder, manifest = find_prepared(home)
    fp32, bf16 = (
        SentenceTransformer(
            str(model), device="cpu", local_files_only=True, model_kwargs={"dtype": dtype}
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    runners: dict[str, Embed] = {
        "openvino": Embedder(folder, manifest, threads=1).embed,
        "openvino f32": Embedder(folder, manifest, threads=1, precision="f32").embed,
        DEFAULT: lambda batch: fp32.encode(batch, normalize_embeddings=True),
        "sentence-transformers fp32, batches of 8": lambda batch: fp32.encode(
            batch, batch_size=8, normalize_embeddings=True
        ),
        TUNED: lambda batch: bf16.encode(batch, batch_size=8, normalize_embeddings=True),
    }
    seconds = {name: list[float]() for name in runners}
    vectors = {name: list[np.ndarray]() for name in runners}
    for embed in runners.values():
        embed(texts[:8])  # buffers and kernels are made at the first call
    for start in range(0, len(texts), TURN):
        batch = texts[start : start + TURN]
        for name, embed in runners.items():
            before = time.process_time()
            vectors[name].append(embed(batch))
            seconds[name].append(time.process_time() - before)
    rate = {name: len(texts) / sum(spent) for name, spent in seconds.items()}
    ours, theirs = (np.concatenate(vectors[name]) for name in ("openvino", DEFAULT))
    ratios = {name: np.divide(seconds[name], seconds["openvino"]) for name in (DEFAULT, TUNED)}
    peers = {name: rate[name] for name in list(runners)[1:]}
    label = f"{len(texts)} chunks, {native_precision()}"
    return [
        row(f"chunks per CPU second, {label}", rate["openvino"], "1/s", peers=peers),
        row(
            "times sentence-transformers fp32, median of turns",
            float(np.median(ratios[DEFAULT])),
            "×",
            at_least=3.5,
        ),
        row(f"times {TUNED}", float(np.median(ratios[TUNED])), "×"),
        row(
            "smallest cosine to sentence-transformers",
            float((ours * theirs).sum(axis=1).min()),
            "",
            at_least=0.9999,
        ),
    ]


def main() -> int:
    parser = bench_parser(__doc__, quick="96 chunks instead of 512")
    options = parser.parse_args()
    home = corpus.settings()
    with tempfile.TemporaryDirectory() as scratch:
        model = fetch_model(home, into=Path(scratch))
        rows = throughput(home, model, chunks=96 if options.quick else 512)
    print("\n".join(show(found) for found in rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(found) for found in rows], indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
