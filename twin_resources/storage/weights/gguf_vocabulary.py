"""A tokenizer of transformers as llama.cpp knows it: tokens, their kinds, merges, the cut of text.

Scope: reading the two kinds that chat models have (byte-level BPE, and pieces of
SentencePiece with bytes for what is in none) out of the tokenizer that the reference uses, and
writing them into a GGUF file of any architecture.
Out of scope: the model's own numbers (`gguf.py`, `conversion_process.py`), whether both
cut a text alike, which is asked of the running server (`serving/serving_parity.py`).

Read from the loaded tokenizer and not from tokenizer.json: transformers builds some families'
tokenizers again from vocabulary and merges, and the reference is what it builds.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, section "Tokenizer".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from gguf import GGUFWriter

# Names of llama.cpp by the steps of the pre-tokenizer. The name decides how text is cut before the
# merges; a wrong one costs no error, only wrong tokens.
_BYTE_LEVEL = ("ByteLevel", True)
_AFTER_SPLIT = ("ByteLevel", False)
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_CASED_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _cased(ending: str, digits: str) -> str:
    """Words that a change from lower to upper case divides (o200k, tekken)."""
    before = r"[^\r\n\p{L}\p{N}]?"
    return (
        f"{before}{_UPPER}*{_LOWER}+{ending}|{before}{_UPPER}+{_LOWER}*{ending}|"
        f"{digits}{_CASED_REST}"
    )


_SPLITS: dict[tuple[str, bool], str] = {
    # the regular expression, and whether a word that is in the vocabulary skips the merges
    (_WORDS + r"\p{N}{1,3}" + _REST, True): "llama-bpe",
    (_WORDS + r"\p{N}{1,3}" + _REST, False): "dbrx",
    (_WORDS + r"\p{N}" + _REST, False): "qwen2",
    (_cased(_ENDING, r"\p{N}{1,3}"), False): "gpt-4o",
    (_cased("", r"\p{N}"), True): "tekken",
}
_STEPS: dict[tuple[tuple[Any, ...], ...], str] = {
    (("Digits", True), _BYTE_LEVEL): "smollm",
    (_BYTE_LEVEL,): "gpt-2",
}
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_SPACE = "\u2581"  # what stands for a space in pieces

NameOfSplit = Callable[[], str]


@dataclass(frozen=True)
class GgufVocabulary:
    """What a GGUF file says of a tokenizer.

    Attributes:
        model: llama.cpp's name of the kind: `gpt2` (bytes) or `llama` (pieces).
        pre: its name of the cut before the merges.
        tokens, types: by id; `types` are gguf's `TokenType`.
        scores: of pieces, the highest is merged first; empty of bytes.
        merges: of bytes, the first is merged first; empty of pieces.
        space_before: a space is put before the text, and after each control token.
        roles: ids by gguf's names: bos, eos, unk, pad, eot (end of turn).
        chat_template: empty without one.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    scores: tuple[float, ...]
    merges: tuple[str, ...]
    space_before: bool
    roles: Mapping[str, int]
    chat_template: str

    def add_to(self, writer: GGUFWriter, *, rows: int) -> None:
        """Write it.

        Args:
            rows: of the embedding; ids above the tokenizer's are filled with unused tokens.
        """
        from gguf import TokenType

        spare = range(len(self.tokens), rows)
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list([*self.tokens[:rows], *(f"[PAD{index}]" for index in spare)])
        writer.add_token_types([*self.types[:rows], *(int(TokenType.UNUSED) for _ in spare)])
        if self.scores:
            writer.add_token_scores([*self.scores[:rows], *(-1e9 for _ in spare)])
        if self.merges:
            writer.add_token_merges(list(self.merges))
        writer.add_add_space_prefix(self.space_before)
        # a template says itself where such tokens stand, and transformers adds none to it
        writer.add_add_bos_token(False)
        writer.add_add_eos_token(False)
        for role, index in self.roles.items():
            getattr(writer, f"add_{role}_token_id")(index)
        if self.chat_template:
            writer.add_chat_template(self.chat_template)


def vocabulary_of(
    tokenizer: Any, *, end_of_turn: int | None, known: NameOfSplit | None = None
) -> GgufVocabulary:
    """Read a loaded tokenizer of transformers.

    Args:
        end_of_turn: id of the token that ends an answer.
        known: another opinion on the name of the cut, asked where the steps name none here; it
            raises NotImplementedError where it has none.

    Raises:
        TwinError: it is of neither kind, or its cut has no name.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _refusal(f"a tokenizer of the class {type(tokenizer).__name__}, which has no file")
    document: dict[str, Any] = json.loads(backend.to_str())
    model = document["model"]
    if model.get("type") != "BPE":
        raise _refusal(f"a tokenizer of the type {model.get('type')!r}")
    pieces = bool(model.get("byte_fallback"))
    tokens, types = _tokens(document, tokenizer, pieces=pieces)
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    roles = {
        name: index
        for name in ("bos", "eos", "unk", "pad")
        if (index := getattr(tokenizer, f"{name}_token_id", None)) is not None
    }
    if end_of_turn is not None:
        roles["eot"] = end_of_turn
        roles.setdefault("eos", end_of_turn)  # llama.cpp's own default is token 11, a comma
    return GgufVocabulary(
        model="llama" if pieces else "gpt2",
        pre="default" if pieces else cut_of(document, known),
        tokens=tuple(tokens),
        types=tuple(types),
        scores=_scores(tokens, merges) if pieces else (),
        merges=() if pieces else tuple(" ".join(map(_spaceless, pair)) for pair in merges),
        space_before=pieces and _puts_space_before(document),
        roles=roles,
        chat_template=_template(tokenizer),
    )


def _tokens(
    document: Mapping[str, Any], tokenizer: Any, *, pieces: bool
) -> tuple[list[str], list[int]]:
    from gguf import TokenType

    vocabulary: dict[str, int] = document["model"]["vocab"]
    added: list[dict[str, Any]] = document.get("added_tokens") or []
    size = 1 + max([*vocabulary.values(), *(token["id"] for token in added)])
    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [int(TokenType.UNUSED)] * size
    for token, index in vocabulary.items():
        byte = pieces and _BYTE.fullmatch(token)
        tokens[index], types[index] = token, int(TokenType.BYTE if byte else TokenType.NORMAL)
    for token in added:
        kind = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
        # llama.cpp looks for these in the text before spaces are replaced
        text = token["content"].replace(_SPACE, " ") if pieces else token["content"]
        tokens[token["id"]], types[token["id"]] = text, int(kind)
    unknown = getattr(tokenizer, "unk_token_id", None)
    if pieces and unknown is not None:
        types[unknown] = int(TokenType.UNKNOWN)
    return tokens, types


def _scores(tokens: Sequence[str], merges: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """Of each piece minus the rank of the merge that makes it: the highest is merged first.

    A piece that no merge makes is never made here either: it keeps the lowest score.
    """
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault("".join(pair), rank)
    return tuple(-float(ranks.get(token, len(merges))) for token in tokens)


def _spaceless(part: str) -> str:
    """Merges stand in one line each, so a space inside a part goes by its byte-level letter."""
    return part.replace(" ", chr(ord(" ") + 256))


def _puts_space_before(document: Mapping[str, Any]) -> bool:
    """Whether each stretch of text gets a space; one that only the very first gets does not count:
    a chat begins with a control token."""
    steps = _flat(document.get("normalizer"), "normalizers")
    steps += _flat(document.get("pre_tokenizer"), "pretokenizers")
    return any(
        step.get("type") == "Prepend"
        or (step.get("type") == "Metaspace" and step.get("prepend_scheme") == "always")
        for step in steps
    )


def cut_of(document: Mapping[str, Any], known: NameOfSplit | None = None) -> str:
    """llama.cpp's name of the cut that a tokenizer.json describes.

    Raises:
        TwinError: it has none that is known here.
    """
    normalizers = {step.get("type") for step in _flat(document.get("normalizer"), "normalizers")}
    seen: list[tuple[Any, ...]] = []
    split = ""
    for step in _flat(document.get("pre_tokenizer"), "pretokenizers"):
        match step.get("type"):
            case "ByteLevel" if not step.get("add_prefix_space"):
                seen.append(("ByteLevel", step.get("use_regex", True)))
            case "Digits":
                seen.append(("Digits", step.get("individual_digits")))
            case "Split" if step.get("behavior") == "Isolated" and not step.get("invert"):
                split = step.get("pattern", {}).get("Regex") or ""
                seen.append(("Split", split))
            case kind:
                seen.append((kind, "unknown"))
    skips = bool(document["model"].get("ignore_merges"))
    if normalizers <= {"NFC"}:
        if tuple(seen) in _STEPS:
            return _STEPS[tuple(seen)]
        if tuple(seen) == (("Split", split), _AFTER_SPLIT) and (split, skips) in _SPLITS:
            return _SPLITS[split, skips]
    if known is not None:
        try:
            return known()
        except NotImplementedError:
            pass  # the refusal below says what was found
    raise _refusal(f"the pre-tokenizer {seen}, to which llama.cpp has no name that is known here")


def _flat(step: Mapping[str, Any] | None, name: str) -> list[Mapping[str, Any]]:
    if not step:
        return []
    if step.get("type") == "Sequence":
        return [one for part in step[name] for one in _flat(part, name)]
    return [step]


def _template(tokenizer: Any) -> str:
    found = getattr(tokenizer, "chat_template", None)
    if isinstance(found, Mapping):
        found = found.get("default")
    return found or ""


def _refusal(found: str) -> TwinError:
    return TwinError(
        "write a tokenizer as GGUF",
        found=found,
        next_step="serve this model with vLLM or another OpenAI-compatible server and set "
        "TWIN_MODEL_SERVER_URL",
    )
