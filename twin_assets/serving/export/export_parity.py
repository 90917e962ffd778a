"""How far an export answers otherwise than its checkpoint: log-probabilities side by side.

Scope: what an export may differ by, and measuring it by the software that will load it
(transformers, PEFT, llama.cpp). Out of scope: writing exports (`exporting.py`), the gate's
own comparison of what is served (`evaluation/served/parity.py`, whose reference is used).

The reference is the base model with its unmerged adapter in float32 (or the fully trained model).
Measured on SmolLM2-135M with matrices B of standard deviation .02: merged in float16 mean .0023 and
largest .017, in bfloat16 .015 and .12; GGUF may differ by what the gate allows (there .002 and .02,
and .1 on average with rows in the wrong order).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_assets.serving.export.exported_weights import GGUF_NAMES, Dtype, ExportSource, Format
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from twin_resources.settings import Settings

TOKENS = 8  # of an answer by llama.cpp
BEST = 5  # tokens of a position that are compared: those that an answer may be made of
# mean and largest difference in nats, by what the weights are stored in
TOLERANCES: dict[str, tuple[float, float]] = {
    "adapter": (1e-5, 1e-4),
    "float32": (1e-4, 1e-3),
    "float16": (0.005, 0.05),
    "bfloat16": (0.05, 0.5),
    "gguf": (0.01, 0.05),
}
QUESTIONS = (
    "What changed between 1984 and 2026, in 12,345 words?",
    "Quote:\n\n> naïve café – “déjà vu”\n\n```c\nint x = 0xFF;\n```\nWhy?",
    "Which clock keeps time best, and who winds it?",
    "Name three things that you would never write about.",
    "How do I undo my last commit?",
    "Warum ist der Himmel blau?",
    "What did you learn from your largest mistake?",
    "Summarise your view of tests in one sentence.",
)
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class LogprobDifferences:
    """Absolute differences of log-probabilities to the checkpoint's, in nats.

    Attributes:
        compared: how many log-probabilities.
        mean, largest: of their differences.
        allowed_mean, allowed_largest: what the format may differ by.
    """

    prompts: int
    compared: int
    mean: float
    largest: float
    allowed_mean: float
    allowed_largest: float

    @property
    def holds(self) -> bool:
        return self.mean <= self.allowed_mean and self.largest <= self.allowed_largest

    def __str__(self) -> str:
        return (
            f"differ by {self.mean:.2g} on average and {self.largest:.2g} at most "
            f"(allowed {self.allowed_mean:g} and {self.allowed_largest:g})"
        )


def agreement_of(
    source: ExportSource, export: Path, *, wanted: Format, dtype: Dtype, settings: Settings
) -> LogprobDifferences:
    """Load an export with the software that it is for and compare it with its checkpoint.

    Raises:
        TwinError: the software cannot load it.
    """
    if wanted in ("gguf", "gguf-adapter"):
        return _by_llama_cpp(source, export, wanted=wanted, settings=settings)
    allowed = TOLERANCES["adapter" if wanted == "adapter" else dtype]
    return _by_transformers(source, export, wanted=wanted, allowed=allowed)


def _prompts() -> list[Messages]:
    return [[{"role": "user", "content": question}] for question in QUESTIONS]


def _by_transformers(
    source: ExportSource, export: Path, *, wanted: Format, allowed: tuple[float, float]
) -> LogprobDifferences:
    """All positions of each prompt, the best tokens of each under the checkpoint."""
    import torch
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(source.whole)
    inputs = [
        torch.tensor(
            [
                tokenizer.apply_chat_template(
                    prompt, tokenize=True, add_generation_prompt=True, return_dict=False
                )
            ]
        )
        for prompt in _prompts()
    ]
    expected = _values(_model(source.whole, source.adapter), inputs)
    adapter = export if wanted == "adapter" else None
    values = _values(_model(source.base if adapter else export, adapter), inputs)
    differences: list[float] = []
    for one, other in zip(expected, values, strict=True):
        best = one.topk(BEST, dim=-1).indices
        differences += (one - other).abs().gather(-1, best).flatten().tolist()
    return _agreement(differences, prompts=len(inputs), allowed=allowed)


def _model(folder: Path, adapter: Path | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter))
    return model.eval()


def _values(model: Any, inputs: Sequence[Any]) -> list[Any]:
    import torch

    with torch.inference_mode():
        return [model(input_ids=one).logits[0].log_softmax(-1) for one in inputs]


def _by_llama_cpp(
    source: ExportSource, export: Path, *, wanted: Format, settings: Settings
) -> LogprobDifferences:
    """Answers of a llama.cpp server, each asked twice: the second comes from its cache."""
    from twin_assets.evaluation.served import parity
    from twin_resources.models.serving import served_model
    from twin_resources.models.serving.model_server import ServerProcess

    file = export / GGUF_NAMES[wanted]
    base_gguf, adapter = (
        (file, None) if wanted == "gguf" else (_base_gguf(source, export, settings), file)
    )
    process = ServerProcess(settings, base_gguf, adapter, alias="export")
    try:
        server = process.wait_until_ready()
        once = served_model.ask(server, _prompts(), max_tokens=TOKENS)
        again = served_model.ask(server, _prompts(), max_tokens=TOKENS)
    finally:
        process.end()
        if adapter is not None:
            base_gguf.unlink()
    compared = parity.compare(
        parity.Reference(source.whole, source.adapter), _prompts(), once, again
    )
    if compared is None:
        raise TwinError(
            f"compare {file.name} with its checkpoint",
            found="llama.cpp answered every prompt with nothing",
            next_step=f"read {process.log_path}",
        )
    allowed_mean, allowed_largest = TOLERANCES["gguf"]
    return LogprobDifferences(
        compared.prompts,
        compared.compared,
        compared.mean,
        compared.largest,
        allowed_mean,
        allowed_largest,
    )


def _base_gguf(source: ExportSource, export: Path, settings: Settings) -> Path:
    """The base's own f16 GGUF, made for the comparison beside the export."""
    from twin_resources.storage.weights.kept_converter import write_model

    wheels = settings.weights_dir / "wheels"
    return write_model(source.base, export.parent / "base.gguf", wheels=wheels)


def _agreement(
    differences: Sequence[float], *, prompts: int, allowed: tuple[float, float]
) -> LogprobDifferences:
    return LogprobDifferences(
        prompts=prompts,
        compared=len(differences),
        mean=sum(differences) / len(differences),
        largest=max(differences),
        allowed_mean=allowed[0],
        allowed_largest=allowed[1],
    )
