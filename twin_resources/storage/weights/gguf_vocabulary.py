"""Convert a transformers tokenizer to a GGUF vocabulary: tokens, types, merges, pre-tokenizer.

Scope: reading the two kinds of tokenizer that chat models use (byte-level BPE, and SentencePiece
pieces with byte fallback), and writing their vocabulary into a GGUF file of any architecture.
Out of scope: the model's hyper-parameters (`gguf.py`, `conversion_process.py`), and checking on
the running server that both sides tokenize a text identically (`serving/serving_parity.py`).

This module reads the loaded tokenizer instead of tokenizer.json. For some model families,
transformers rebuilds the tokenizer from vocabulary and merges, and the result is the reference.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, section "Tokenizer".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from gguf import GGUFWriter

SERVE_WITH_VLLM = (
    "serve this model with vLLM or another OpenAI-compatible server and set TWIN_MODEL_SERVER_URL"
)
_BYTE_LEVEL = ("ByteLevel", True)
_AFTER_SPLIT = ("ByteLevel", False)
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_CASED_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _cased_word_pattern(ending: str, digits: str) -> str:
    """Return a pattern that splits words where lower case changes to upper case (o200k, tekken)."""
    prefix = r"[^\r\n\p{L}\p{N}]?"
    return (
        f"{prefix}{_UPPER}*{_LOWER}+{ending}|{prefix}{_UPPER}+{_LOWER}*{ending}|"
        f"{digits}{_CASED_REST}"
    )


# llama.cpp's names of pre-tokenizers. The name determines how text is split before the merges. A
# wrong name causes wrong tokens without an error.
_NAME_BY_SPLIT: dict[tuple[str, bool], str] = {
    # The key is the regular expression and whether a word in the vocabulary skips the merges.
    (_WORDS + r"\p{N}{1,3}" + _REST, True): "llama-bpe",
    (_WORDS + r"\p{N}{1,3}" + _REST, False): "dbrx",
    (_WORDS + r"\p{N}" + _REST, False): "qwen2",
    (_cased_word_pattern(_ENDING, r"\p{N}{1,3}"), False): "gpt-4o",
    (_cased_word_pattern("", r"\p{N}"), True): "tekken",
}
_NAME_BY_STEPS: dict[tuple[tuple[Any, ...], ...], str] = {
    (("Digits", True), _BYTE_LEVEL): "smollm",
    (_BYTE_LEVEL,): "gpt-2",
}
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPACE = "\u2581"  # represents a space in pieces

PreTokenizerLookup = Callable[[], str]


def write_vocabulary(
    writer: GGUFWriter,
    tokenizer: Any,
    *,
    rows: int,
    end_of_turn: int,
    fallback: PreTokenizerLookup,
) -> None:
    """Write the vocabulary of a loaded transformers tokenizer to a GGUF file.

    Args:
        rows: number of rows of the embedding; unused tokens fill ids that the tokenizer lacks.
        end_of_turn: id of the token that ends an answer.
        fallback: function that names the pre-tokenizer if this module does not know its steps. It
            raises NotImplementedError if it does not know them either.

    Raises:
        TwinError: the tokenizer is of neither kind, or its pre-tokenizer is unknown.
    """
    from gguf import TokenType

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _unsupported_error(
            f"a tokenizer of class {type(tokenizer).__name__}, which has no tokenizer.json"
        )
    document: dict[str, Any] = json.loads(backend.to_str())
    model = document["model"]
    if model.get("type") != "BPE":
        raise _unsupported_error(f"a tokenizer of type {model.get('type')!r}")
    is_sentencepiece = bool(model.get("byte_fallback"))
    unknown_id = getattr(tokenizer, "unk_token_id", None)
    tokens, types = read_tokens(document, is_sentencepiece=is_sentencepiece, unknown_id=unknown_id)
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    padding_ids = range(len(tokens), rows)
    writer.add_tokenizer_model("llama" if is_sentencepiece else "gpt2")
    writer.add_tokenizer_pre(
        "default" if is_sentencepiece else pre_tokenizer_name(document, fallback)
    )
    writer.add_token_list([*tokens[:rows], *(f"[PAD{index}]" for index in padding_ids)])
    writer.add_token_types([*types[:rows], *(int(TokenType.UNUSED) for _ in padding_ids)])
    if is_sentencepiece:
        scores = _compute_scores(tokens, merges)
        writer.add_token_scores([*scores[:rows], *(-1e9 for _ in padding_ids)])
    elif merges:
        writer.add_token_merges([" ".join(map(_encode_space, pair)) for pair in merges])
    writer.add_add_space_prefix(is_sentencepiece and _has_space_prefix(document))
    # The template already contains these tokens, and transformers adds no more.
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    roles = {
        role: index
        for role in ("bos", "eos", "unk", "pad")
        if (index := getattr(tokenizer, f"{role}_token_id", None)) is not None
    }
    roles["eot"] = end_of_turn
    roles.setdefault("eos", end_of_turn)  # llama.cpp's own default is token 11, a comma
    for role, index in roles.items():
        getattr(writer, f"add_{role}_token_id")(index)
    if template := _read_template(tokenizer):
        writer.add_chat_template(template)


def read_tokens(
    document: Mapping[str, Any],
    *,
    rows: int = 0,
    is_sentencepiece: bool = False,
    unknown_id: int | None = None,
) -> tuple[list[str], list[int]]:
    """Return the tokens of a tokenizer.json and gguf's `TokenType`s, by id.

    Args:
        rows: minimum number of tokens; unused ones fill ids that the tokenizer lacks.
        unknown_id: id of the token for unknown pieces.
    """
    from gguf import TokenType

    vocabulary: dict[str, int] = document["model"]["vocab"]
    added_tokens: list[dict[str, Any]] = document.get("added_tokens") or []
    size = max(rows, 1 + max([*vocabulary.values(), *(token["id"] for token in added_tokens)]))
    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [int(TokenType.UNUSED)] * size
    for token, index in vocabulary.items():
        is_byte = is_sentencepiece and _BYTE.fullmatch(token)
        tokens[index], types[index] = token, int(TokenType.BYTE if is_byte else TokenType.NORMAL)
    for token in added_tokens:
        kind = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
        # llama.cpp searches for added tokens before it replaces spaces.
        text = token["content"].replace(_SPACE, " ") if is_sentencepiece else token["content"]
        tokens[token["id"]], types[token["id"]] = text, int(kind)
    if is_sentencepiece and unknown_id is not None:
        types[unknown_id] = int(TokenType.UNKNOWN)
    return tokens, types


def _compute_scores(tokens: Sequence[str], merges: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """Return the negative merge rank of each piece, because llama.cpp merges high scores first.

    A piece without a merge gets the lowest score, so it is never merged.
    """
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault("".join(pair), rank)
    return tuple(-float(ranks.get(token, len(merges))) for token in tokens)


def _encode_space(part: str) -> str:
    """Replace spaces with their byte-level letter, because GGUF separates merge parts by spaces."""
    return part.replace(" ", chr(ord(" ") + 256))


def _has_space_prefix(document: Mapping[str, Any]) -> bool:
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


def pre_tokenizer_name(
    document: Mapping[str, Any], fallback: PreTokenizerLookup | None = None
) -> str:
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
    if fallback is not None:
        try:
            return fallback()
        except NotImplementedError:
            pass  # the error below names the pre-tokenizer
    raise _unsupported_error(f"the pre-tokenizer {steps}, which has no known name in llama.cpp")


def _flatten_steps(step: Mapping[str, Any] | None, name: str) -> list[Mapping[str, Any]]:
    if not step:
        return []
    if step.get("type") == "Sequence":
        return [flattened for child in step[name] for flattened in _flatten_steps(child, name)]
    return [step]


def _read_template(tokenizer: Any) -> str:
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, Mapping):
        template = template.get("default")
    return template or ""


def _unsupported_error(found: str) -> TwinError:
    return TwinError("write a tokenizer as GGUF", found=found, next_step=SERVE_WITH_VLLM)
