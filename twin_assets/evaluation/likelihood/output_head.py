"""Compute a model's logits from its last hidden states, in fp32 and only where needed.

Scope: the head's matrix, and the scaling (Granite, Cohere) or capping (Gemma 2) of its output. Out
of scope: choosing positions (`perplexity.py`, `served/parity.py`).
Source: the `forward` of each family's `…ForCausalLM` in transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Largest accepted difference, as a share of the largest logit. In bf16, rounding changes the
# model's own logits by 2⁻⁸ of their value, and the head's logits by as much.
MAX_ROUNDING_SHARE = 0.05


class OutputHead:
    """The head of one model, in fp32.

    Raises:
        TwinError: its logits differ from the model's own, because the family is unknown.
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
        self._require_matching_logits(model)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Compute logits (positions, vocabulary) from hidden states (positions, width)."""
        from torch.nn import functional

        logits = functional.linear(states.float(), self._weight, self._bias)
        if self._scale != 1.0:
            logits = logits * self._scale
        return logits if self._cap is None else self._cap * (logits / self._cap).tanh()

    def _require_matching_logits(self, model: PreTrainedModel) -> None:
        """Raise `TwinError` if one token's logits differ from the model's own."""
        import torch

        token = torch.ones(1, 1, dtype=torch.long, device=model.device)
        with torch.inference_mode():
            model_logits: Any = model(input_ids=token, use_cache=False).logits[0].float()
            computed_logits = self.logits(model.base_model(input_ids=token).last_hidden_state[0])
        if not bool(model_logits.isfinite().any()) and not bool(computed_logits.isfinite().any()):
            return  # the weights contain NaN, and the gate's claims reject them
        # this comparison is false for NaN, so NaN does not pass
        if not bool(
            (model_logits - computed_logits).abs().max()
            <= MAX_ROUNDING_SHARE * model_logits.abs().max() + 1e-3
        ):
            raise TwinError(
                f"compute logits of {type(model).__name__} from its hidden states",
                found="a difference from the model's own logits of up to "
                f"{float((model_logits - computed_logits).abs().max())}",
                next_step="report this with the base model's name",
            )
