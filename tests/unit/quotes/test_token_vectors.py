"""Test token vectors in four bits and their cosines."""

from __future__ import annotations

import numpy as np
import pytest

from twin_resources.models.quotes.token_vectors import pack_token_vectors, token_cosines


def normalize(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_packed_vectors_keep_their_cosines() -> None:
    rng = np.random.default_rng(0)
    passages = [rng.standard_normal((tokens, 384)).astype(np.float32) for tokens in (5, 1, 90)]
    question = passages[2][:7] + rng.standard_normal((7, 384)).astype(np.float32)
    cosine_matrices = token_cosines(question, [pack_token_vectors(passage) for passage in passages])
    for cosines, passage in zip(cosine_matrices, passages, strict=True):
        assert cosines.shape == (7, len(passage))
        assert np.abs(cosines - normalize(question) @ normalize(passage).T).max() < 0.03
    assert cosine_matrices[2].argmax(axis=1).tolist() == list(range(7))


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e3])
def test_only_directions_are_stored(length: float) -> None:
    states = np.array([[7, -7, 0, 3], [-1, 2, 6, -7]], np.float32)
    packed = pack_token_vectors(states * length)
    assert len(packed) == states.size // 2
    assert packed == pack_token_vectors(states)
    (cosines,) = token_cosines(states, [packed])
    np.testing.assert_allclose(cosines, normalize(states) @ normalize(states).T, atol=1e-6)


def test_a_zero_vector_has_cosine_zero() -> None:
    (cosines,) = token_cosines(
        np.ones((1, 4), np.float32), [pack_token_vectors(np.zeros((2, 4), np.float32))]
    )
    assert cosines.tolist() == [[0.0, 0.0]]
