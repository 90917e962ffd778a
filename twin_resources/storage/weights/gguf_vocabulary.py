"""Convert a transformers tokenizer to a GGUF vocabulary: tokens, types, merges, pre-tokenizer.

The two kinds of tokenizer are byte-level BPE, and SentencePiece pieces with byte fallback.
`serving_parity.py` checks on the running server that both sides tokenize a text identically.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, section "Tokenizer".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from twin_resources.errors import TwinError

SERVE_WITH_VLLM = (
    "serve this model with vLLM or another OpenAI-compatible server and set TWIN_MODEL_SERVER_URL"
)
_BYTE_LEVEL = ("ByteLevel", True)
_AFTER_SPLIT = ("ByteLevel", False)
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# llama.cpp's names of pre-tokenizers. The name determines how text is split before the merges. A
# wrong name causes wrong tokens without an error.
_NAME_BY_SPLIT: dict[tuple[str, bool], str] = {
    # The key is the regular expression and whether a word in the vocabulary skips the merges.
    (_WORDS + r"\p{N}{1,3}" + _REST, True): "llama-bpe",
    (_WORDS + r"\p{N}{1,3}" + _REST, False): "dbrx",
    (_WORDS + r"\p{N}" + _REST, False): "qwen2",
}
_NAME_BY_STEPS: dict[tuple[tuple[Any, ...], ...], str] = {
    (("Digits", True), _BYTE_LEVEL): "smollm",
    (_BYTE_LEVEL,): "gpt-2",
}
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPACE = "\u2581"  # represents a space in pieces


def read_tokens(
    document: Mapping[str, Any],
    *,
    rows: int = 0,
    has_pieces: bool = False,
) -> tuple[list[str], list[int]]:
    """Return the tokens of a tokenizer.json and gguf's `TokenType`s, by id.

    Args:
        rows: minimum number of tokens; unused ones fill ids that the tokenizer lacks.
        has_pieces: whether the tokens are pieces of SentencePiece.
    """
    from gguf import TokenType

    vocabulary: dict[str, int] = document["model"]["vocab"]
    added_tokens: list[dict[str, Any]] = document.get("added_tokens") or []
    size = max(rows, 1 + max([*vocabulary.values(), *(token["id"] for token in added_tokens)]))
    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [int(TokenType.UNUSED)] * size
    for token, index in vocabulary.items():
        is_byte = has_pieces and _BYTE.fullmatch(token)
        tokens[index], types[index] = token, int(TokenType.BYTE if is_byte else TokenType.NORMAL)
    for token in added_tokens:
        kind = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
        # llama.cpp searches for added tokens before it replaces spaces.
        text = token["content"].replace(_SPACE, " ") if has_pieces else token["content"]
        tokens[token["id"]], types[token["id"]] = text, int(kind)
    unknown_token = document["model"].get("unk_token")
    if has_pieces and unknown_token in vocabulary:
        types[vocabulary[unknown_token]] = int(TokenType.UNKNOWN)
    return tokens, types


def compute_scores(document: Mapping[str, Any], tokens: Sequence[str]) -> list[float]:
    """Return the negative merge rank of each piece, because llama.cpp merges high scores first.

    A piece without a merge gets the lowest score, so it is never merged.
    """
    merges: list[Any] = document["model"]["merges"]
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault("".join(pair if isinstance(pair, list) else pair.split(" ")), rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def has_space_prefix(document: Mapping[str, Any]) -> bool:
    """Return whether each text segment gets a leading space.

    A space before only the first segment does not count, because a chat begins with a control
    token.
    """
    steps = _flatten_steps(document.get("normalizer"), "normalizers")
    steps += _flatten_steps(document.get("pre_tokenizer"), "pretokenizers")
    return any(
        step.get("type") == "Prepend"
        or (step.get("type") == "Metaspace" and step.get("prepend_scheme") == "always")
        for step in steps
    )


def pre_tokenizer_name(document: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of the pre-tokenizer in a tokenizer.json.

    Raises:
        TwinError: llama.cpp's name is unknown.
    """
    normalizers = {
        step.get("type") for step in _flatten_steps(document.get("normalizer"), "normalizers")
    }
    steps: list[tuple[Any, ...]] = []
    split = ""
    for step in _flatten_steps(document.get("pre_tokenizer"), "pretokenizers"):
        match step.get("type"):
            case "ByteLevel" if not step.get("add_prefix_space"):
                steps.append(("ByteLevel", step.get("use_regex", True)))
            case "Digits":
                steps.append(("Digits", step.get("individual_digits")))
            case "Split" if step.get("behavior") == "Isolated" and not step.get("invert"):
                split = step.get("pattern", {}).get("Regex") or ""
                steps.append(("Split", split))
            case kind:
                steps.append((kind, "unknown"))
    ignores_merges = bool(document["model"].get("ignore_merges"))
    if normalizers <= {"NFC"}:
        if tuple(steps) in _NAME_BY_STEPS:
            return _NAME_BY_STEPS[tuple(steps)]
        if (
            tuple(steps) == (("Split", split), _AFTER_SPLIT)
            and (split, ignores_merges) in _NAME_BY_SPLIT
        ):
            return _NAME_BY_SPLIT[split, ignores_merges]
    raise _unsupported_error(f"the pre-tokenizer {steps}, which has no known name in llama.cpp")


def _flatten_steps(step: Mapping[str, Any] | None, name: str) -> list[Mapping[str, Any]]:
    if not step:
        return []
    if step.get("type") == "Sequence":
        return [flattened for child in step[name] for flattened in _flatten_steps(child, name)]
    return [step]


def _unsupported_error(found: str) -> TwinError:
    return TwinError("write a tokenizer as GGUF", found=found, next_step=SERVE_WITH_VLLM)
