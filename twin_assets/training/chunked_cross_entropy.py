"""Compute token losses from the model's output layer without all logits in memory at once.

Scope: running the output layer in chunks of rows, and checking that the model does not change the
layer's logits, which chunking would bypass. Out of scope: the choice of tokens (`losses.py`).

Logits are tokens × vocabulary float32 values, and their gradient is as large. For 4,096 tokens and
a vocabulary of 128,256, both together take 4.2 GB. A chunk's logits are computed, converted to
losses and discarded; the backward pass recomputes them.
Method: gradient checkpointing of the output layer, Chen et al. 2016,
https://arxiv.org/abs/1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import torch

IGNORE_INDEX = -100  # label of a prompt or padding token


class ChunkedHead:
    """The forward pass of an output layer, which returns losses while targets are set."""

    def __init__(self, layer: Callable[[torch.Tensor], torch.Tensor], rows: int) -> None:
        self._layer = layer
        self.rows = rows
        self._targets: torch.Tensor | None = None

    @contextmanager
    def use_targets(self, targets: torch.Tensor) -> Iterator[None]:
        """Make the layer return losses in the shape of these targets inside the block."""
        self._targets = targets
        try:
            yield
        finally:
            self._targets = None

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        if self._targets is None:
            return self._layer(hidden)
        import torch
        from torch.utils.checkpoint import checkpoint

        flat_hidden, targets = hidden.flatten(0, -2), self._targets.flatten()
        losses: list[Any] = [
            checkpoint(self._compute_losses, part, labels, use_reentrant=False)
            for part, labels in zip(
                flat_hidden.split(self.rows), targets.split(self.rows), strict=True
            )
        ]
        return torch.cat(losses).view(self._targets.shape)

    def _compute_losses(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return _cross_entropy(self._layer(hidden), targets)


def chunk_head(model: Any, *, rows: int) -> None:
    """Make `token_losses` run a model's output layer in chunks.

    Args:
        model: transformers or PEFT model, not yet prepared; its parameters keep their names.
        rows: tokens per chunk.

    Raises:
        TwinError: the model changes the output layer's logits (Gemma 2 caps them, Granite divides
            them), so losses computed from that layer would differ.
    """
    head = model.get_output_embeddings()
    layer = head.forward
    _require_unchanged_logits(head, model)
    head.forward = ChunkedHead(layer, rows)


def _require_unchanged_logits(head: Any, model: Any) -> None:
    """Check, with stubs for the body and the layer, that the model does not change the logits."""
    import torch
    from transformers.modeling_outputs import MoeModelOutputWithPast

    unwrapped_model = model.get_base_model() if hasattr(model, "get_base_model") else model
    body: Any = getattr(unwrapped_model, unwrapped_model.base_model_prefix)
    original_forwards = [(module, module.__dict__.get("forward")) for module in (head, body)]
    # these values would reveal caps, divisions and truncation
    probe_logits = torch.linspace(-100.0, 100.0, 3)[None, None]
    hidden: Any = MoeModelOutputWithPast(last_hidden_state=torch.zeros(1, 1, 1))
    head.forward = lambda _hidden: probe_logits
    body.forward = lambda *_, **__: hidden
    try:
        with torch.no_grad():
            logits = unwrapped_model(
                input_ids=torch.ones(1, 1, dtype=torch.long), use_cache=False
            ).logits
    finally:
        for module, forward in original_forwards:
            if forward is None:
                del module.forward
            else:
                module.forward = forward
    if not torch.equal(logits, probe_logits):
        raise TwinError(
            "compute the loss in chunks",
            found=f"the logits of {type(unwrapped_model).__name__} differ from the result of its "
            "output layer",
            next_step="set loss_chunk to 0 in the recipe",
        )


def find_chunked_head(model: Any) -> ChunkedHead | None:
    """Return the head set by `chunk_head`, even in PEFT, DDP or DeepSpeed wrappers, or None."""
    unwrapped_model = getattr(model, "module", model)
    get_head = getattr(unwrapped_model, "get_output_embeddings", None)
    forward = getattr(get_head(), "forward", None) if get_head is not None else None
    return forward if isinstance(forward, ChunkedHead) else None


def token_losses(model: Any, targets: torch.Tensor, **inputs: Any) -> torch.Tensor:
    """Return each target's negative log-likelihood, 0 for `IGNORE_INDEX`, shaped like `targets`.

    Args:
        inputs: the model's inputs, with `logits_to_keep` if not all positions have a target.
    """
    head = find_chunked_head(model)
    if head is None:
        return _cross_entropy(model(**inputs).logits.flatten(0, -2), targets.flatten()).view(
            targets.shape
        )
    with head.use_targets(targets):
        return model(**inputs).logits


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of each row of logits, in float32."""
    from torch.nn import functional

    return functional.cross_entropy(
        logits.float(), targets, ignore_index=IGNORE_INDEX, reduction="none"
    )
