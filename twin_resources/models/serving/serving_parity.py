"""Verify that llama.cpp answers like transformers before a base model is used.

Scope: comparing a server's rendered prompts, tokens, ends of turns and log-probabilities with those
of the reference, and describing the difference. Out of scope: writing the GGUF file
(`storage/weights/gguf.py`), the gate's comparison of a trained version
(`evaluation/served/parity.py`).

The comparisons are separate so that the error can state the cause: the rendering of the template,
the tokenization (pre-tokenizer, merges), a turn that does not end, or the weights. A single token
involves neither rotation nor attention, so a difference after it comes from the embedding, the
output head or a norm. A difference that appears only later comes from the rotary order or
attention. The five most probable tokens after eight positions of each prompt are compared. The
server's cache is on, as in normal use.
"""
# pyright: strict, reportUnknownMemberType=false

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from twin_resources.errors import TwinError
from twin_resources.models.serving.model_server import ServerProcess
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.models.serving.served_precision import F16, precision_limits

if TYPE_CHECKING:
    from twin_resources.settings import Settings

POSITIONS_PER_PROMPT = 8
TOP_TOKENS = 5  # compared after each position
SINGLE_TOKEN_CAUSE = "after a single token: the embedding, the output head (tied or not) or a norm"
SEQUENCE_CAUSE = "from the second token on: the rotary order or scaling, or attention"
MAX_MEMORY_SHARE = 0.8
# Limits for a bf16 reference, whose own rounding error is about .03 nats.
ROUNDED_LIMITS = precision_limits("q8_0")
SYSTEM_PROMPT = "You answer readers in the voice of Ada, from what Ada has published."
QUESTIONS = (
    "What changed between 1984 and 2026, in 12,345 words?",
    "Quote:\n\n> naïve café – “déjà vu”\n\n```c\nint x = 0xFF;\n```\nWhy?",
    "Which  clock   keeps time\tbest, and who's winding it?",
    "Name three things that you'd NEVER write about; I'm curious!",
    "How do I undo my last commit? git reset --hard HEAD~1",
    "Warum ist der Himmel blau? Почему? なぜですか? 😀",
    "What did you learn from your largest mistake?\n\n\n  Indented.\nAnd (then).\n\nWhy?",
    "Why? " + "The pendulum of the tower clock swings once in two seconds. " * 12,
)
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class ServingParity:
    """The difference between a served base model and its reference, in nats.

    Attributes:
        prompts, places: number of prompts, and number of positions in each prompt.
        mean, largest: mean and largest absolute difference of log-probabilities.
        precision: precision of the served weights.
        allowed_mean, allowed_largest: limits for `mean` and `largest`.
    """

    prompts: int
    places: int
    mean: float
    largest: float
    precision: str
    allowed_mean: float
    allowed_largest: float

    @property
    def is_within_limits(self) -> bool:
        # This direction of the comparison rejects NaN.
        return self.mean <= self.allowed_mean and self.largest <= self.allowed_largest

    def __str__(self) -> str:
        mean, largest = self.allowed_mean, self.allowed_largest
        return (
            f"log-probabilities of {self.prompts} prompts differ by {self.mean:.4f} on average "
            f"(limit {mean:g}) and {self.largest:.4f} at most (limit {largest:g})"
        )


class TransformersReference:
    """The model in transformers, with its unmerged PEFT adapter if there is one.

    It computes in float32, or in the stored precision (`is_reduced_precision`) if float32 weights
    do not fit in the available memory.
    """

    def __init__(self, folder: Path, adapter: Path | None = None) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        weight_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        # A published weight has two bytes, and a float32 weight has four.
        self.is_reduced_precision = (
            2 * weight_bytes > MAX_MEMORY_SHARE * psutil.virtual_memory().available
        )
        dtype = "auto" if self.is_reduced_precision else torch.float32
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(adapter))
        self._model = model.eval()

    def render(self, messages: Messages) -> str:
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )

    def tokenize(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def log_probabilities(self, tokens: Sequence[int], positions: Sequence[int]) -> Any:
        """Return the log-probabilities after these positions, shape (positions, vocabulary)."""
        import torch

        with torch.inference_mode():
            logits = self._model(
                input_ids=torch.tensor([list(tokens)]),
                use_cache=False,
                logits_to_keep=torch.tensor(list(positions)),
            ).logits
        return logits[0].float().log_softmax(-1)


def verify_serving_parity(
    settings: Settings,
    folder: Path,
    gguf: Path,
    *,
    precision: str = F16,
    adapter: Path | None = None,
    adapter_gguf: Path | None = None,
    end_tokens: Iterable[str] = (),
) -> ServingParity:
    """Serve a GGUF file and compare it with its transformers folder.

    Args:
        precision: precision of the file, which determines the limits.
        adapter: PEFT folder of the reference.
        adapter_gguf: adapter beside `gguf`; None if there is none, or if `gguf` contains it.
        end_tokens: texts of the tokens that must end an answer.

    Raises:
        TwinError: the file cannot be served, or the answers differ; the message describes how.
    """
    process = ServerProcess(settings, gguf, adapter_gguf, alias="proof")
    try:
        with _LlamaServerClient(process.wait_until_ready()) as server:
            reference = TransformersReference(folder, adapter)
            return _compare_answers(
                reference, server, precision=precision, end_tokens=end_tokens, folder=folder
            )
    finally:
        process.stop()


def _compare_answers(
    reference: TransformersReference,
    server: _LlamaServerClient,
    *,
    precision: str,
    end_tokens: Iterable[str],
    folder: Path,
) -> ServingParity:
    prompts = [_tokenize_prompt(reference, server, messages) for messages in _build_conversations()]
    for end in end_tokens:
        _check_end_token(reference, server, prompts[0], end)
    differences = [
        difference
        for prompt in prompts
        for difference in _measure_differences(
            reference, server, prompt, _spread_positions(len(prompt))
        )
    ]
    parity = ServingParity(
        len(prompts),
        POSITIONS_PER_PROMPT,
        sum(differences) / len(differences),
        max(differences),
        precision,
        *(ROUNDED_LIMITS if reference.is_reduced_precision else precision_limits(precision)),
    )
    if not parity.is_within_limits:
        location = _locate_difference(reference, server, prompts, parity.allowed_largest)
        raise _parity_error(folder, f"{parity}, {location}")
    return parity


def _spread_positions(length: int) -> list[int]:
    """Return evenly spaced positions of a prompt in ascending order, including the last one."""
    return sorted(
        {
            length - 1 - length * index // POSITIONS_PER_PROMPT
            for index in range(POSITIONS_PER_PROMPT)
        }
    )


def _build_conversations() -> list[Messages]:
    return [
        [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": question.strip()},
        ]
        for question in QUESTIONS
    ]


def _tokenize_prompt(
    reference: TransformersReference, server: _LlamaServerClient, messages: Messages
) -> list[int]:
    """Return a prompt's tokens after checking that the reference and the server agree on them."""
    text, served_text = reference.render(messages), server.render(messages)
    if text != served_text:
        position = _find_first_difference(text, served_text)
        raise _parity_error(
            server.alias,
            f"the chat template renders {served_text[position - 10 : position + 30]!r} but "
            f"transformers renders {text[position - 10 : position + 30]!r}",
        )
    tokens, served_tokens = reference.tokenize(text), server.tokenize(text)
    if tokens != served_tokens:
        position = _find_first_difference(tokens, served_tokens)
        expected, actual = (
            reference.tokenizer.convert_ids_to_tokens(token_ids[position : position + 4])
            for token_ids in (tokens, served_tokens)
        )
        raise _parity_error(
            server.alias,
            f"the tokens differ (pre-tokenizer or merges): {actual}, but transformers has "
            f"{expected}",
        )
    return tokens


def _check_end_token(
    reference: TransformersReference, server: _LlamaServerClient, prompt: list[int], end_token: str
) -> None:
    token = reference.tokenizer.convert_tokens_to_ids(end_token)
    if not server.is_end_token(prompt, token):
        raise _parity_error(
            server.alias, f"an answer does not end at {end_token!r} (token {token})"
        )


def _measure_differences(
    reference: TransformersReference,
    server: _LlamaServerClient,
    prompt: Sequence[int],
    positions: Sequence[int],
) -> list[float]:
    """Return the differences of the top tokens' log-probabilities after each position."""
    letter_token = reference.tokenize("a")[-1]
    log_probabilities = reference.log_probabilities(prompt, positions)
    return [
        abs(value - float(row[token]))
        for row, position in zip(log_probabilities, positions, strict=True)
        for token, value in server.top_tokens(prompt[: position + 1], letter_token).items()
    ]


def _locate_difference(
    reference: TransformersReference,
    server: _LlamaServerClient,
    prompts: list[list[int]],
    limit: float,
) -> str:
    single_token_differences = [
        max(_measure_differences(reference, server, [token], [0]))
        for token in sorted({prompt[len(prompt) // 2] for prompt in prompts})
    ]
    return (
        SEQUENCE_CAUSE
        if all(difference <= limit for difference in single_token_differences)
        else SINGLE_TOKEN_CAUSE
    )


def _find_first_difference(left: Sequence[Any], right: Sequence[Any]) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next(
        (index for index, (left_token, right_token) in pairs if left_token != right_token),
        min(len(left), len(right)),
    )


def _parity_error(subject: object, found: str) -> TwinError:
    return TwinError(
        f"serve {subject} as transformers computes it",
        found=found,
        next_step="use another variant of this model, or serve it with vLLM and set "
        "TWIN_MODEL_SERVER_URL; nothing was trained",
    )


class _LlamaServerClient:
    """A client for the llama.cpp server routes that show how the server processes a prompt.

    API: https://github.com/ggml-org/llama.cpp/tree/master/tools/server
    """

    def __init__(self, server: RunningServer) -> None:
        self.alias = server.alias
        self._url = server.url.removesuffix("/v1")
        self._client = httpx.Client(headers=server.headers, trust_env=False, timeout=600)

    def __enter__(self) -> _LlamaServerClient:
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close()

    def render(self, messages: Messages) -> str:
        return str(self._post("/apply-template", {"messages": messages})["prompt"])

    def tokenize(self, text: str) -> list[int]:
        body = {"content": text, "add_special": False, "parse_special": True}
        return list(self._post("/tokenize", body)["tokens"])

    def is_end_token(self, prompt: Sequence[int], token: int) -> bool:
        """Return whether the answer ends if this is its first token."""
        body = {"prompt": list(prompt), "n_predict": 2, "logit_bias": [[token, 1e4]]}
        return self._post("/completion", body | {"temperature": 0})["stop_type"] == "eos"

    def top_tokens(self, prompt: Sequence[int], letter_token: int) -> dict[int, float]:
        """Return the most probable tokens after a prompt, with their log-probabilities.

        Args:
            letter_token: id of an ordinary letter, which a bias forces the server to answer. The
                server would report nothing for a token that ends a turn or ends within a
                character. The bias does not change the log-probabilities.
        """
        body: dict[str, Any] = {
            "prompt": list(prompt),
            "n_predict": 1,
            "n_probs": TOP_TOKENS,
            "temperature": 0,
            "logit_bias": [[letter_token, 1e4]],
        }
        [position] = self._post("/completion", body)["completion_probabilities"]
        return {
            int(entry["id"]): _parse_log_probability(entry) for entry in position["top_logprobs"]
        }

    def _post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = self._client.post(f"{self._url}{route}", json=body)
            response.raise_for_status()
            return dict(response.json())
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            detail = error.response.text[:300] if isinstance(error, httpx.HTTPStatusError) else ""
            raise _parity_error(self.alias, f"{route} failed: {error} {detail}") from error


def _parse_log_probability(entry: Mapping[str, Any]) -> float:
    """Return a log-probability; the server sends NaN as null, because JSON has no NaN."""
    value = entry["logprob"]
    return float("nan") if value is None else float(value)
