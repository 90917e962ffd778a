"""What a model of some size does on this machine: memory, training time, reply speed.

Belongs here: the rule and its figures.
Does not belong here: looking at the machine (`preflight.py`), and for its sake any import outside
the standard library and syntax newer than Python 3.9.

It is a rule, not a measurement: it scales what was measured on two cores with bf16 instructions and
a model of 0.135 billion parameters. There 100,000 training tokens cost 600 CPU seconds. A reader's
tokens a second are those of a reply from the question to its last word: searching, reading a prompt
of 500 tokens with its passages (4.5 ms each on the one core that a server takes of two), and 64
tokens (110 a second). That is 3.3 s and 19 tokens/s where the server alone says 110. Work grows
with the parameters; training without bf16 instructions costs 2.6 times as much; a reply is read
from memory, so cores past four do not help it. Nothing was measured on a GPU: there the rule is
arithmetic on a slow one. Without bf16 `twin up` names a recipe of 70,000 tokens for a new author.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

SIZES = {"135M": 0.135, "1.7B": 1.7, "8B": 8.0}  # billions of parameters
REFERENCE_BILLION = 0.135
TRAINING_CPU_S = 600.0
REPLY_TOKENS_PER_S = 110.0  # of a server on half of two cores, once it writes
PROMPT_TOKEN_S = 0.0045
REPLY_TOKENS, PROMPT_TOKENS = 64, 500
SEARCH_S = 0.4  # embedding the question, passages, the way through the gateway
WITHOUT_BF16 = 2.6
RANKS = 2
GPU_SUSTAINED_FLOPS = 20e12  # a guess at the low end; no figure of a GPU was taken for it
TRAINING_TOKENS, TOKENS_WITHOUT_BF16 = 100_000, 70_000  # of the two recipes
RECIPE_WITHOUT_BF16 = "smollm2-135m-cpu-fp32"
GB = 1e9
CARD_CHARACTERS = 4000  # metadata stand at the top of a model card


def parameters_of(model: str) -> float | None:
    """Billions of parameters: of a model folder, or as the name says; None when neither tells."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        # two bytes a parameter: weights are published in bf16 or f16
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        return size / 2 / GB or None
    match = re.search(r"(\d+(?:\.\d+)?)([bBmM])(?![a-zA-Z])", model)
    if not match:
        return None
    return float(match.group(1)) * (1.0 if match.group(2) in "bB" else 0.001)


def licence_of(model: str) -> str:
    """The licence that a model folder's card names, or where to read one; empty: no card says it.

    Card: https://huggingface.co/docs/hub/model-cards#model-card-metadata
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return f"read its licence at https://huggingface.co/{model}"
    try:
        head = (folder / "README.md").read_text(encoding="utf-8", errors="replace")[
            :CARD_CHARACTERS
        ]
    except OSError:
        return ""
    head = head.partition("---")[2].partition("\n---")[0]
    fields = dict(re.findall(r"^(license|license_name|license_link):[ ]*(\S.*?)[ ]*$", head, re.M))
    named = fields.get("license_name") or fields.get("license", "")
    link = fields.get("license_link", "")
    return f"licence: {named}" + (f" ({link})" if link else "") if named else ""


def memory_need_gb(billions: float) -> float:
    """Training beside the stack: two ranks with a copy each, two servers in f16, the rest 4 GB."""
    return 4 + RANKS * (2 * billions + 1.5) + 2 * 2 * billions


def weights_gb(model: str) -> float | None:
    """What a server of ours reads of a model, f16, or the GGUF file as it is; None: not known."""
    path = Path(model).expanduser()
    if path.is_file():
        return path.stat().st_size / GB
    billions = parameters_of(model)
    return None if billions is None else 2 * billions


def answering_need_gb(weights: float, *, trained_billions: float | None = None) -> float:
    """Memory of a server with these weights (GB) beside the stack, and beside a training as well.

    Weights, a cache for 2 × 4,096 tokens (an eighth of the weights, at least 0.3 GB) and 4 GB.

    Args:
        trained_billions: parameters of the model that is trained beside it; None: none is.
    """
    stack = 4.0 if trained_billions is None else memory_need_gb(trained_billions)
    return stack + weights + max(0.3, weights / 8)


def expect(billions: float, machine: dict[str, Any]) -> dict[str, Any]:
    """What a model of this size does on this machine.

    Args:
        billions: parameters.
        machine: `cores`, `memory_gb`, `bf16`, `gpus` as (name, GB).

    Returns:
        `fits`, `on` (CPU or GPU), `needs` (words), `training_minutes`, `reply_tokens_per_s`: as a
        reader sees it, from the question to the last word.
    """
    scale = billions / REFERENCE_BILLION
    graphics = max((memory for _, memory in machine["gpus"]), default=0.0)
    gpu_need = 2.5 * billions + 4
    if graphics >= gpu_need:
        seconds = 6 * billions * 1e9 * TRAINING_TOKENS / GPU_SUSTAINED_FLOPS + 60
        writing = 0.3 * 300e9 / (2 * billions * 1e9)  # a third of 300 GB/s of memory traffic
        reply = SEARCH_S + REPLY_TOKENS / writing
        return _expectation(
            True, "GPU, not measured", f"{gpu_need:.0f} GB of GPU memory", seconds, reply
        )
    need = memory_need_gb(billions)
    seconds = TRAINING_CPU_S * scale / machine["cores"]
    if not machine["bf16"]:
        seconds *= WITHOUT_BF16 * TOKENS_WITHOUT_BF16 / TRAINING_TOKENS
    computing = PROMPT_TOKENS * PROMPT_TOKEN_S + REPLY_TOKENS / REPLY_TOKENS_PER_S
    reply = SEARCH_S + computing * scale * 2 / min(max(machine["cores"], 2), 4)
    fits = machine["memory_gb"] >= need
    return _expectation(fits, "CPU", f"{need:.0f} GB of memory", seconds, reply)


def _expectation(
    fits: bool, where: str, needs: str, seconds: float, reply_s: float
) -> dict[str, Any]:
    return {
        "fits": fits,
        "on": where,
        "needs": needs,
        "training_minutes": round(seconds / 60, 1),
        "reply_tokens_per_s": round(REPLY_TOKENS / reply_s, 1),
    }


def size_name(billions: float) -> str:
    """1.7 → `1.7B`, 0.135 → `135M`."""
    return f"{billions:.3g}B" if billions >= 1 else f"{billions * 1000:.0f}M"
