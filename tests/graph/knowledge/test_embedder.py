"""Test that the embedder agrees with its original model and keeps its contract."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from twin_resources.errors import TwinError
from twin_resources.models.embedder import embedder as embedder_module
from twin_resources.models.embedder import engines, preparation
from twin_resources.models.embedder.embedder import (
    Embedder,
    embedder_folder,
    find_prepared_embedder,
    load_embedder,
)
from twin_resources.models.embedder.engines import OpenVinoEngine
from twin_resources.models.embedder.preparation import (
    compute_reference_vectors,
    fetch_model,
    prepare_embedder,
)
from twin_resources.settings import Settings, load_settings

SENTENCES = (
    "The heap is a tree that pretends to be an array.",
    "In March the river took the lower fields, as it does.",
    "She wrote `x = y + 1` on the board and waited.",
    "Nobody had asked why the cache was warm before the first request.",
    "Whether a comet returns depends on who else it meets.",
    "¿Por qué no? 李 said so, and the naïve reader agreed — twice.",
    "int main(void) { return 0; }",
    "Bread rises; rules do not.",
)


def build_texts(count: int) -> list[str]:
    """Return different texts, from a few words to about 230 tokens."""
    return [
        " ".join(SENTENCES[(index + step) % len(SENTENCES)] for step in range(1 + index % 18))
        + f" {index}"
        for index in range(count)
    ]


@pytest.fixture(scope="module")
def original(embedder_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the original model."""
    return fetch_model(
        load_settings(embedder_weights.parent), target_folder=tmp_path_factory.mktemp("original")
    )


@pytest.mark.long
def test_both_engines_agree_with_sentence_transformers(
    home_with_embedder: Settings, embedder: Embedder, original: Path, tmp_path: Path
) -> None:
    """Compare the vectors of 64 chunks with those of `SentenceTransformer.encode`."""
    from sentence_transformers import SentenceTransformer

    chunks = build_texts(64)
    counts = embedder.count_tokens(chunks)
    assert max(counts) <= embedder.token_limit
    assert max(counts) > 200
    reference = SentenceTransformer(str(original), device="cpu", local_files_only=True)
    expected = reference.encode(chunks, normalize_embeddings=True)
    folder, manifest = find_prepared_embedder(home_with_embedder)
    shared_folder = tmp_path / "both"
    shutil.copytree(folder, shared_folder)
    shutil.copytree(original, shared_folder / "original")
    torch_embedder = Embedder(shared_folder, manifest, engine="sentence-transformers")
    for engine in (embedder, torch_embedder):
        assert (engine.embed(chunks) * expected).sum(axis=1).min() >= 0.9999
    # The comparison can fail: vectors of different texts are far apart.
    assert (np.roll(expected, 1, axis=0) * expected).sum(axis=1).min() < 0.9


def test_a_model_whose_conversion_differs_is_kept_as_it_is(
    home_with_embedder: Settings, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = home_with_embedder.model_copy(update={"embedder": str(original)})
    with pytest.raises(TwinError, match="prepare"):
        load_embedder(settings)
    lines: list[str] = []
    with monkeypatch.context() as strict:
        strict.setattr(preparation, "MIN_AGREEMENT", 1.1)
        folder = prepare_embedder(settings, report=lines.append)
    assert any("keeping the original, because the cosine" in line for line in lines), lines
    assert not (folder / "model.xml").exists()
    assert load_embedder(settings).embed(["Why?", "Because."]).shape == (2, 384)


@pytest.mark.long
def test_large_batches_are_computed_on_the_gpu(
    home_with_embedder: Settings, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listed GPU does not exist, so torch computes its batches on the processor."""
    settings = home_with_embedder.model_copy(update={"embedder": str(original)})
    folder = prepare_embedder(settings)
    assert not (folder / "original").exists()
    for module in (preparation, engines):
        monkeypatch.setattr(module, "list_usable_gpus", lambda: [("a card", 80.0)])
    assert prepare_embedder(settings) == folder, "the original was not added to the revision"
    assert (folder / "original").is_dir()
    few, many = build_texts(4), build_texts(40)
    tokens = sum(load_embedder(settings).count_tokens(many))
    monkeypatch.setattr(embedder_module, "GPU_MIN_TOKENS", tokens)
    default = load_embedder(settings)
    openvino = Embedder(folder, find_prepared_embedder(settings)[1], engine="openvino")

    gateway_embedder = load_embedder(settings, allow_gpu=False)

    assert np.array_equal(default.embed(few), openvino.embed(few))
    halves = [default.embed(many[:20]), default.embed(many[20:])]
    expected = openvino.embed(many)
    assert np.array_equal(halves[0], expected[:20]), "a small batch used the GPU"
    assert not np.array_equal(halves[1], expected[20:]), "a large total did not use the GPU"
    assert np.array_equal(gateway_embedder.embed(many), expected)
    gpu_vectors = default.embed(many)
    assert not np.array_equal(gpu_vectors, expected)
    assert (gpu_vectors * expected).sum(axis=1).min() >= 0.9999
    assert np.array_equal(openvino.embed(many), expected), "a configured engine was replaced"

    monkeypatch.setattr(engines, "list_usable_gpus", list)
    assert np.array_equal(load_embedder(settings).embed(many), expected), (
        "the GPU was used after its removal"
    )


def test_a_vector_depends_on_neither_its_neighbors_nor_the_thread(embedder: Embedder) -> None:
    texts = build_texts(20)
    batch = embedder.embed(texts)
    with ThreadPoolExecutor(8) as pool:
        single = list(pool.map(lambda text: embedder.embed([text])[0], texts * 4))
    assert np.array_equal(np.stack(single), np.concatenate([batch] * 4))
    assert np.array_equal(embedder.embed(texts[::-1])[::-1], batch)


@pytest.mark.long
def test_embedders_of_one_process_share_one_compiled_model(
    home_with_embedder: Settings, embedder: Embedder
) -> None:
    """Concurrent requests stay correct, and an unused model is released."""
    folder = find_prepared_embedder(home_with_embedder)[0]
    first, second = (OpenVinoEngine(folder, threads=3) for _ in range(2))
    assert first.compiled_model is second.compiled_model
    assert OpenVinoEngine(folder.resolve(), threads=3).compiled_model is first.compiled_model
    assert OpenVinoEngine(folder, threads=2).compiled_model is not first.compiled_model
    single_thread = OpenVinoEngine(folder, threads=1).compiled_model.model
    assert not single_thread.get_property("ENABLE_CPU_PINNING"), (
        "single questions would all run on processor 0"
    )

    texts = build_texts(18)
    embedders = [load_embedder(home_with_embedder) for _ in range(2)]
    expected = embedder.embed(texts)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: embedders[number % 2].embed(texts), range(16)))
    assert all(np.array_equal(vectors, expected) for vectors in results)

    model_reference = weakref.ref(first.compiled_model)
    del first, second
    gc.collect()
    assert model_reference() is None


def test_vectors_are_unit_float32(embedder: Embedder) -> None:
    vectors = embedder.embed(["", "one", "two words"])
    assert vectors.shape == (3, embedder.dimension)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.dimension)


def test_text_beyond_the_token_limit_affects_the_vector(embedder: Embedder) -> None:
    long = "The tide tables were printed every winter in the harbour office. " * 60
    assert embedder.count_tokens([long])[0] > embedder.token_limit
    extended_text = long + "Suddenly everything is about garbage collection in Lisp. " * 8
    question = embedder.embed(["garbage collection in Lisp"])[0]
    vector, extended_vector = embedder.embed([long, extended_text])
    assert extended_vector @ question > vector @ question + 0.05


def test_the_tokenizer_counts_what_the_model_reads(embedder: Embedder) -> None:
    assert embedder.token_limit == 512
    assert embedder.languages == ("en",)
    # MiniLM's own file truncates to 128 and pads to 128.
    assert embedder.count_tokens(["word " * 500, "a"]) == [502, 3]
    text = "Don't  panic."
    encoding = embedder.tokenizer.encode(text, add_special_tokens=False)
    assert [text[start:end] for start, end in encoding.offsets] == ["Don", "'", "t", "panic", "."]


def test_an_unprepared_embedder_is_an_error_with_advice(home: Settings) -> None:
    with pytest.raises(TwinError, match=r"twin_resources\.models\.embedder prepare"):
        load_embedder(home)


def test_a_folder_with_a_newer_schema_is_refused(home_with_embedder: Settings) -> None:
    folder = embedder_folder(home_with_embedder)
    source, manifest = find_prepared_embedder(home_with_embedder)
    document = json.loads((source / "embedder.json").read_text()) | {"schema": manifest.schema + 1}
    folder.unlink()  # the link to the shared folder
    (folder / "next").mkdir(parents=True)
    (folder / "next" / "embedder.json").write_text(json.dumps(document))
    (folder / "current.json").write_text('{"revision": "next"}')
    with pytest.raises(TwinError, match="newer"):
        load_embedder(home_with_embedder)


def test_sentence_transformers_runs_a_model_with_further_layers(
    home: Settings, original: Path, tmp_path: Path
) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense

    torch.manual_seed(0)
    base_model = SentenceTransformer(str(original), device="cpu", local_files_only=True)
    layers = [base_model[0], base_model[1], Dense(384, 16, activation_function=torch.nn.Identity())]
    SentenceTransformer(modules=layers, device="cpu").save(str(tmp_path / "with-dense"))
    settings = home.model_copy(update={"embedder": str(tmp_path / "with-dense")})
    folder = prepare_embedder(settings)
    assert not (folder / "model.xml").exists()
    embedder = load_embedder(settings)
    assert (embedder.dimension, embedder.token_limit) == (16, 512)
    texts = build_texts(6)
    reference = SentenceTransformer(
        str(tmp_path / "with-dense"), device="cpu", local_files_only=True
    )
    expected = reference.encode(texts, normalize_embeddings=True)
    assert (embedder.embed(texts) * expected).sum(axis=1).min() >= 0.9999


def test_a_model_folder_is_prepared_with_its_weights_and_limit(
    home_with_embedder: Settings, tmp_path: Path
) -> None:
    """A custom model with first-token pooling, a shorter limit and no model card."""
    import torch
    from transformers import BertConfig, BertModel

    model = fetch_model(home_with_embedder, target_folder=tmp_path)
    torch.manual_seed(0)
    small_config = BertConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(small_config).save_pretrained(model)
    (model / "README.md").unlink()
    (model / "sentence_bert_config.json").write_text('{"max_seq_length": 64}')
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    settings = home_with_embedder.model_copy(update={"embedder": str(model)})
    prepare_embedder(settings)
    embedder = load_embedder(settings)
    # The model has more positions than it declares.
    assert (embedder.dimension, embedder.token_limit, embedder.languages) == (32, 512, ())
    texts = ["one", "a stack grows downwards"]
    original = compute_reference_vectors(model, texts, token_limit=512)
    assert (embedder.embed(texts) * original).sum(axis=1).min() > 0.999
    assert embedder.revision != load_embedder(home_with_embedder).revision

    lines: list[str] = []
    prepare_embedder(settings, report=lines.append)
    assert lines == []  # already prepared
    torch.manual_seed(1)
    BertModel(small_config).save_pretrained(model)
    prepare_embedder(settings)
    assert load_embedder(settings).revision != embedder.revision


def test_the_embedder_runs_without_torch_and_telemetry(home_with_embedder: Settings) -> None:
    script = (
        "import sys\n"
        "from twin_resources.models.embedder.embedder import load_embedder\n"
        "from twin_resources.settings import load_settings\n"
        f"embedder = load_embedder(load_settings({str(home_with_embedder.home)!r}))\n"
        "assert embedder.embed(['Why?']).shape == (1, 384)\n"
        "loaded = {'torch', 'transformers', 'dagster'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
    )
    user = home_with_embedder.home / "user"
    user.mkdir()
    process = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(user), "PATH": "/usr/bin:/bin"},
        cwd=Path(__file__).resolve().parents[3],
    )
    assert process.returncode == 0, process.stderr
    assert list(user.iterdir()) == []  # OpenVINO's telemetry leaves a client id in ~/intel
