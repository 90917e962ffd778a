"""From a model's last hidden states to its logits, in fp32 and only where they are wanted.

Scope: the head's matrix and what some families do to its product (Granite and Cohere scale
it, Gemma 2 caps it). Out of scope: which positions (`perplexity.py`, `served/parity.py`).
Source: the `forward` of each family's `…ForCausalLM` in transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Of the largest logit: a bf16 model's own logits are rounded by 2⁻⁸ of it, and its head by as much.
ROUNDING = 0.05


class OutputHead:
    """The head of one model, in fp32.

    Raises:
        TwinError: its logits are not those of the model itself: an unknown family's product.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        head: Any = model.get_output_embeddings()
        config: Any = model.config.get_text_config()
        self._weight: torch.Tensor = head.weight.detach().float()
        bias = getattr(head, "bias", None)
        self._bias: torch.Tensor | None = None if bias is None else bias.detach().float()
        self._scale = float(getattr(config, "logit_scale", None) or 1.0)
        self._scale /= float(getattr(config, "logits_scaling", None) or 1.0)
        self._cap: float | None = getattr(config, "final_logit_softcapping", None)
        self._require_same(model)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Of hidden states (positions, width): (positions, vocabulary)."""
        from torch.nn import functional

        logits = functional.linear(states.float(), self._weight, self._bias)
        if self._scale != 1.0:
            logits = logits * self._scale
        return logits if self._cap is None else self._cap * (logits / self._cap).tanh()

    def _require_same(self, model: PreTrainedModel) -> None:
        """Hold one token's logits against what the model says."""
        import torch

        token = torch.ones(1, 1, dtype=torch.long, device=model.device)
        with torch.inference_mode():
            own: Any = model(input_ids=token, use_cache=False).logits[0].float()
            mine = self.logits(model.base_model(input_ids=token).last_hidden_state[0])
        if not bool(own.isfinite().any()) and not bool(mine.isfinite().any()):
            return  # weights that are no numbers: the gate's claims refuse them
        # written this way round so that a number that is none does not pass
        if not bool((own - mine).abs().max() <= ROUNDING * own.abs().max() + 1e-3):
            raise TwinError(
                f"compute logits of {type(model).__name__} from its hidden states",
                found=f"another product than the model's own by {float((own - mine).abs().max())}",
                next_step="report this with the base model's name",
            )
