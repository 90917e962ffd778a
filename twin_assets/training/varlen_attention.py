"""Attention between rows of several samples by torch's own kernels, from the samples' boundaries.

Belongs here: the function that transformers calls by the name `VARLEN`, and the boundaries that it
is handed. Does not belong here: which recipe gets it (`model.py`), packing (`losses.py`).

flash-attn is compiled for an hour, or not to be had; torch brings the same kernels. They take
float16 and bfloat16 on a GPU alone: other tensors take SDPA, sample by sample, which is what the
kernels compute. A mask of a row's tokens by its tokens, which SDPA needs for a whole row, is never
made; and transformers does not look into the positions for boundaries, a wait for the GPU in each
forward pass.
Source: https://docs.pytorch.org/docs/stable/nn.attention.varlen.html
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import torch

VARLEN = "varlen"
BY_BOUNDARIES = frozenset({VARLEN, "flash_attention_2"})  # attentions that `boundaries` are for


def register() -> None:
    """Make `VARLEN` known to transformers; a second time changes nothing.

    It has no entry among the masks: transformers then makes none.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(VARLEN, varlen_attention)


def boundaries(lengths: Sequence[int], device: torch.device) -> dict[str, Any]:
    """Where the samples of one row begin and end, as transformers hands it to attentions.

    Args:
        lengths: tokens of each sample, padding as one more.
    """
    import torch

    starts = on_device(torch.tensor([0, *accumulate(lengths)], dtype=torch.int32), device)
    longest = max(lengths)
    return {
        "cu_seq_lens_q": starts,
        "cu_seq_lens_k": starts,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def on_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor there; to a GPU by pinned memory, so that nobody waits for the copy."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each sample.

    Args:
        query: shape (rows, heads, tokens, width); `key` and `value` may have fewer heads.
        attention_mask: none: a causal model never looks at padding on the right.
        cu_seq_lens_q, max_length_q: of `boundaries`, for one row; without: each row is a sample.

    Returns:
        Shape (rows, tokens, heads, width), and no weights.

    Raises:
        TwinError: the model wants what the kernels have not: a mask, dropout, a cap or sinks.
    """
    import torch

    wanted = {"attention_mask": attention_mask} | others
    for name in ("attention_mask", "dropout", "softcap", "s_aux"):
        if wanted.get(name) is not None and not (name == "dropout" and wanted[name] == 0):
            raise TwinError(
                f"compute attention {VARLEN} of {type(module).__name__}",
                found=f"{name}, which its kernels do not know",
                next_step="write attention: sdpa or eager in the recipe",
            )
    rows, _, tokens, _ = query.shape
    if cu_seq_lens_q is None or max_length_q is None:
        cu_seq_lens_q = torch.arange(
            0, (rows + 1) * tokens, tokens, dtype=torch.int32, device=query.device
        )
        max_length_q = tokens
    if query.dtype == torch.float32 and torch.is_autocast_enabled(query.device.type):
        narrow = torch.get_autocast_dtype(query.device.type)  # rotary embedding has widened it
        query, key, value = query.to(narrow), key.to(narrow), value.to(narrow)
    enable_gqa = query.shape[1] != key.shape[1]
    # (rows × tokens, heads, width): the samples behind each other
    query, key, value = (part.transpose(1, 2).flatten(0, 1) for part in (query, key, value))
    if query.device.type == "cuda" and query.dtype != torch.float32:
        from torch.nn.attention.varlen import varlen_attn

        out: Any = varlen_attn(
            query,
            key,
            value,
            cu_seq_lens_q,
            cu_seq_lens_q,
            max_length_q,
            max_length_q,
            scale=scaling,
            window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
            enable_gqa=enable_gqa,
        )
    else:
        out = _one_by_one(query, key, value, cu_seq_lens_q.tolist(), scaling, sliding_window)
    return out.unflatten(0, (rows, tokens)).to(value.dtype), None


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: Sequence[int],
    scaling: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    """The same by SDPA, for what the kernels do not take; shapes (tokens, heads, width)."""
    import torch
    from torch.nn import functional

    parts: list[torch.Tensor] = []
    for start, end in pairwise(starts):
        length = end - start
        mask = None
        if sliding_window is not None and sliding_window < length:
            seen = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
            mask = seen.triu(1 - sliding_window)
        mine, keys, values = (part[start:end].transpose(0, 1)[None] for part in (query, key, value))
        one = functional.scaled_dot_product_attention(
            mine,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        parts.append(one[0].transpose(0, 1))
    return torch.cat(parts)
