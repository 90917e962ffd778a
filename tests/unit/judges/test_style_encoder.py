"""The interface of a style encoder, on a tiny BERT of random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.judges.test_entailment import LABELS, WORDS, cross_encoder
from twin_resources.errors import TwinError
from twin_resources.quality.judges.named import NamedJudges
from twin_resources.quality.judges.named_folder import files_hash
from twin_resources.quality.judges.style_encoder import FEWEST_TEXTS, StyleEncoder, StyleSimilarity

TEXTS = [" ".join(WORDS[at : at + 4]) for at in range(FEWEST_TEXTS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_encoder(tmp_path_factory.mktemp("style"), LABELS)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> StyleEncoder:
    return StyleEncoder(folder, name="tiny")


def test_a_model_without_a_pooling_of_its_own_gives_the_mean_of_its_tokens(
    folder: Path, encoder: StyleEncoder
) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    found = encoder.embed(TEXTS[:3])

    model: Any = AutoModel.from_pretrained(folder).eval()
    for text, vector in zip(TEXTS, found, strict=False):
        with torch.inference_mode():
            read: Any = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
            mean = model(**read).last_hidden_state[0].mean(0).numpy()
        assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert encoder.name == "style by tiny"


def test_a_text_is_as_near_as_its_vector_is_to_the_mean_of_the_authors(
    encoder: StyleEncoder,
) -> None:
    style = StyleSimilarity(encoder.embed, encoder=encoder.revision, name=encoder.name, texts=TEXTS)
    vectors = encoder.embed(TEXTS)
    place = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))

    found = style.score_texts(["dust broke", "", " \n", TEXTS[0]])

    assert found[1:3] == [0.0, 0.0]
    assert found[0] == pytest.approx(float(encoder.embed(["dust broke"])[0] @ place), abs=1e-5)
    assert found[3] == pytest.approx(float(vectors[0] @ place), abs=1e-5)
    assert style.score_texts([]) == []
    others = [*TEXTS[1:], "dust"]
    again = StyleSimilarity(encoder.embed, encoder=encoder.revision, name="x", texts=others)
    assert again.revision != style.revision


def test_too_few_texts_place_nobody(encoder: StyleEncoder) -> None:
    with pytest.raises(TwinError, match="9 training texts"):
        StyleSimilarity(encoder.embed, encoder="e", name="x", texts=TEXTS[:9])


def test_the_same_files_are_the_same_encoder_and_a_pooling_within_counts(
    tmp_path: Path, folder: Path, encoder: StyleEncoder
) -> None:
    assert StyleEncoder(folder, name="another").revision == encoder.revision
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "config.json").write_text("{}")
    before = files_hash(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "told.json").write_text("{}")
    assert files_hash(tmp_path) == before, "what a download left behind"
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert files_hash(tmp_path) != before


def test_a_folder_without_an_encoder_says_what_to_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')

    with pytest.raises(TwinError, match="TWIN_STYLE_MODEL"):
        NamedJudges(style=str(tmp_path)).load_style()


def test_weights_that_are_a_pickle_are_not_loaded(tmp_path: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")

    with pytest.raises(TwinError, match="safetensors"):
        StyleEncoder(tmp_path)
