"""Losses of tokens from the model's output layer, its logits never there for all tokens at once.

Scope: the output layer taken in chunks of rows, and the check that the model does nothing
with logits that this would pass by. Out of scope: which tokens are learnt (`losses.py`).

Logits are tokens × vocabulary in float32, and as many again for their gradient: 4,096 tokens of a
vocabulary of 128,256 are 4.2 GB. A chunk's logits are made, turned into its losses and forgotten;
the backward pass makes them again.
Method: checkpointing, Chen et al. 2016, https://arxiv.org/abs/1604.06174, of the output layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import torch

NO_LOSS = -100  # label of a token that is prompt or padding


class ChunkedHead:
    """The forward pass of an output layer, which gives losses while it is told their targets."""

    def __init__(self, layer: Callable[[torch.Tensor], torch.Tensor], rows: int) -> None:
        self._layer = layer
        self.rows = rows
        self._targets: torch.Tensor | None = None

    @contextmanager
    def learning(self, targets: torch.Tensor) -> Iterator[None]:
        """Within it the layer gives losses of these targets, in their shape."""
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

        flat, targets = hidden.flatten(0, -2), self._targets.flatten()
        losses: list[Any] = [
            checkpoint(self._losses, part, labels, use_reentrant=False)
            for part, labels in zip(flat.split(self.rows), targets.split(self.rows), strict=True)
        ]
        return torch.cat(losses).view(self._targets.shape)

    def _losses(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return _cross_entropy(self._layer(hidden), targets)


def chunk_head(model: Any, *, rows: int) -> None:
    """Let a model's output layer be taken in chunks; `token_losses` does so from then on.

    Args:
        model: of transformers or PEFT, not yet prepared. Parameters keep their names.
        rows: tokens of a chunk.

    Raises:
        TwinError: its logits are not what the output layer gives (Gemma 2 caps them, Granite
            divides them), so losses taken there would be others.
    """
    head = model.get_output_embeddings()
    layer = head.forward
    _require_no_more_than(head, model)
    head.forward = ChunkedHead(layer, rows)


def _require_no_more_than(head: Any, model: Any) -> None:
    """Let the model hand on planted logits, around a body and a layer that compute nothing."""
    import torch
    from transformers.modeling_outputs import MoeModelOutputWithPast

    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    body: Any = getattr(bare, bare.base_model_prefix)
    own = [(part, part.__dict__.get("forward")) for part in (head, body)]
    planted = torch.linspace(-100.0, 100.0, 3)[None, None]  # caps, divisions and cuts all show
    hidden: Any = MoeModelOutputWithPast(last_hidden_state=torch.zeros(1, 1, 1))
    head.forward = lambda _hidden: planted
    body.forward = lambda *_, **__: hidden
    try:
        with torch.no_grad():
            logits = bare(input_ids=torch.ones(1, 1, dtype=torch.long), use_cache=False).logits
    finally:
        for part, forward in own:
            if forward is None:
                del part.forward
            else:
                part.forward = forward
    if not torch.equal(logits, planted):
        raise TwinError(
            "take the loss in chunks",
            found=f"a {type(bare).__name__}, whose logits are not what its output layer gives",
            next_step="set loss_chunk to 0 in the recipe",
        )


def chunked_head_of(model: Any) -> ChunkedHead | None:
    """That of `chunk_head`, also through PEFT, DDP and DeepSpeed; None without one."""
    bare = getattr(model, "module", model)
    find = getattr(bare, "get_output_embeddings", None)
    forward = getattr(find(), "forward", None) if find is not None else None
    return forward if isinstance(forward, ChunkedHead) else None


def token_losses(model: Any, targets: torch.Tensor, **inputs: Any) -> torch.Tensor:
    """Negative log-likelihood of each target, 0 where it is `NO_LOSS`; shape of `targets`.

    Args:
        inputs: the model's, with `logits_to_keep` where not all positions have a target.
    """
    head = chunked_head_of(model)
    if head is None:
        return _cross_entropy(model(**inputs).logits.flatten(0, -2), targets.flatten()).view(
            targets.shape
        )
    with head.learning(targets):
        return model(**inputs).logits


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of each row of logits, in float32."""
    from torch.nn import functional

    return functional.cross_entropy(logits.float(), targets, ignore_index=NO_LOSS, reduction="none")
