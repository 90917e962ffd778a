"""Attention from boundaries: each sample by itself, whatever stands beside it in the row."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from twin_assets.training.varlen_attention import boundaries, varlen_attention
from twin_resources.errors import TwinError

CPU = torch.device("cpu")
LENGTHS = [5, 1, 9]


@pytest.fixture
def states() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query of four heads, key and value of two; one row of 15 tokens, width 8."""
    torch.manual_seed(3)
    query, key, value = (torch.randn(1, heads, sum(LENGTHS), 8) for heads in (4, 2, 2))
    return query, key, value


def by_mask(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int
) -> torch.Tensor:
    """The same by one mask for the whole row, element by element."""
    owner = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    ahead = torch.arange(len(owner))[:, None] - torch.arange(len(owner))[None]
    mask = (owner[:, None] == owner[None]) & (ahead >= 0) & (ahead < window)
    key, value = (part.repeat_interleave(2, dim=1) for part in (key, value))
    scores = query @ key.transpose(2, 3) * 0.3
    return functional.softmax(scores.masked_fill(~mask, -torch.inf), -1) @ value


@pytest.mark.parametrize("window", [None, 3, 40])
def test_it_is_attention_under_a_mask_of_blocks(
    states: tuple[torch.Tensor, torch.Tensor, torch.Tensor], window: int | None
) -> None:
    out, weights = varlen_attention(
        torch.nn.Identity(),
        *states,
        None,
        scaling=0.3,
        sliding_window=window,
        dropout=0.0,
        **boundaries(LENGTHS, CPU),
    )
    assert weights is None
    expected = by_mask(*states, window or 99).transpose(1, 2)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_without_boundaries_each_row_is_a_sample(
    states: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    three = [part.view(part.shape[1], 3, 5, 8).transpose(0, 1) for part in states]
    out, _ = varlen_attention(torch.nn.Identity(), *three, None)
    for row in range(3):
        alone = [part[row : row + 1] for part in three]
        expected = functional.scaled_dot_product_attention(*alone, is_causal=True, enable_gqa=True)
        torch.testing.assert_close(out[row], expected[0].transpose(0, 1), atol=1e-5, rtol=1e-5)


def test_boundaries_are_sums_of_lengths() -> None:
    made = boundaries(LENGTHS, CPU)
    assert made["cu_seq_lens_q"].tolist() == [0, 5, 6, 15]
    assert made["cu_seq_lens_q"].dtype == torch.int32
    assert (made["max_length_q"], made["max_length_k"]) == (9, 9)


@pytest.mark.parametrize("name", ["dropout", "softcap", "s_aux"])
def test_what_the_kernels_do_not_know_is_refused(
    states: tuple[torch.Tensor, torch.Tensor, torch.Tensor], name: str
) -> None:
    with pytest.raises(TwinError, match=f"{name}, which its kernels do not know"):
        varlen_attention(torch.nn.Identity(), *states, None, **{name: 0.1})
