"""Escape a model's control tokens in text written by people, so that the model reads them as text.

Scope: finding the strings that a model reads as control tokens, and escaping them in a text. These
marks are the tokenizer's own list, the marks in its chat template, and those of known model
families.
Out of scope: assembling a prompt (`prompt/templates.py` applies this to all content).

A tokenizer reads `<|im_end|>` in any text as the single token that ends a turn, and the server
reads a prompt with special tokens enabled. A question could therefore open its own system turn
(one reader's did, and the twin answered as a pirate). A space after a mark's first character turns
the mark into text (`< |im_end|>`) for byte-level, SentencePiece and WordPiece tokenizers. An
invisible character would not work, because some normalizers remove it. Text without a mark stays
unchanged, so older datasets, checkpoints and templates stay valid.

Files: tokenizer.json, https://huggingface.co/docs/tokenizers/api/added-tokens
"""
# pyright: strict

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

from twin_resources.settings import Settings

# Marks that the tokenizers of chat models share. Every list includes them, because the answering
# server's tokenizer may not be on this machine. `<s>` and `<pad>` are not included: they are common
# in posts about HTML, and a tokenizer that uses them lists them.
_FAMILY_PATTERNS = (
    r"<\|[^|<>\n]{1,60}\|>",  # ChatML, Llama 3, Qwen, Phi, Command R
    r"<\uff5c[^\uff5c<>\n]{1,60}\uff5c>",  # DeepSeek
    r"</?(?:start|end)_of_(?:turn|image)>",  # Gemma
    r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT)\]",  # Mistral
    r"<</?SYS>>",  # Llama 2
)
_TEMPLATE_MARK = re.compile(r"<[^<>{}\s'\"%\\=]{1,60}>|\[/?[A-Z][A-Z_]+\]|<</?SYS>>")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_TEMPLATE_FILE = "chat_template.jinja"


@dataclass(frozen=True)
class ControlMarks:
    """The marks of one or more models, in addition to those of the model families.

    Attributes:
        marks: marks in the spelling of the tokenizers.
    """

    marks: tuple[str, ...] = ()

    def escape(self, text: str) -> str:
        """Return the text with every mark escaped, or the same string if it contains none.

        The search is repeated until it finds no mark, so that the pieces of one mark cannot form
        another. The method is idempotent. Letters that a normalizer folds, such as full-width
        letters, count as their folded form.
        """
        folded_text = _fold(text)
        while positions := [match.start() for match in self._pattern.finditer(folded_text)]:
            for start in reversed(positions):
                text = f"{text[: start + 1]} {text[start + 1 :]}"
                folded_text = f"{folded_text[: start + 1]} {folded_text[start + 1 :]}"
        return text

    def escape_messages(self, messages: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
        """Apply `escape` to the content of each message."""
        return [
            {"role": message["role"], "content": self.escape(message["content"])}
            for message in messages
        ]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Longest first, so that the regex tries `[INST]x` before `[INST]`.
        folded_marks = sorted({_fold(mark) for mark in self.marks}, key=len, reverse=True)
        return re.compile("|".join((*map(re.escape, folded_marks), *_FAMILY_PATTERNS)))


COMMON_MARKS = ControlMarks()


def _fold(text: str) -> str:
    """Fold each character with NFKC if the result is a single character."""
    if text.isascii():
        return text
    folded_characters = (unicodedata.normalize("NFKC", character) for character in text)
    # U+FF5C is a character of DeepSeek marks; folded, it would form another mark.
    return "".join(
        replacement if len(replacement) == 1 and character != "\uff5c" else character
        for character, replacement in zip(text, folded_characters, strict=True)
    )


def load_folder_marks(folder: Path) -> tuple[str, ...]:
    """Return the control tokens of a folder's tokenizer; () if the tokenizer files are missing.

    These are the tokens that `tokenizer.json` or `tokenizer_config.json` mark as special, the
    special tokens with a role (`eos_token` …), and the marks in the chat template. In some models,
    plain text that is not a token starts a turn.
    """
    names = (*_TOKENIZER_FILES, _TEMPLATE_FILE)
    file_stamps = tuple(_get_file_stamp(folder / name) for name in names)
    return _read_marks(folder, file_stamps)


def _get_file_stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=16)  # the tokenizer file of an 8B model has 9 MB
def _read_marks(folder: Path, _stamps: tuple[tuple[int, int], ...]) -> tuple[str, ...]:
    tokenizer, config, special_tokens = (_read_json(folder / name) for name in _TOKENIZER_FILES)
    marks = set(_iterate_special_tokens(cast("list[Any]", tokenizer.get("added_tokens") or [])))
    decoder = cast("dict[str, Any]", config.get("added_tokens_decoder") or {})
    marks |= set(_iterate_special_tokens(list(decoder.values())))
    for document in (config, special_tokens):
        for name, value in document.items():
            if name.endswith("_token") or name == "additional_special_tokens":
                marks |= set(_iterate_token_texts(value))
    template = _join_templates(config.get("chat_template"))
    if (folder / _TEMPLATE_FILE).is_file():
        template += (folder / _TEMPLATE_FILE).read_text(encoding="utf-8")
    marks |= set(_TEMPLATE_MARK.findall(template))
    return _select_breakable_marks(marks)


def _select_breakable_marks(marks: Iterable[str]) -> tuple[str, ...]:
    # A single character cannot be split, and no chat model uses one to mark a turn.
    return tuple(sorted(mark for mark in marks if len(mark) > 1 and not mark.isspace()))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def _iterate_special_tokens(entries: Sequence[Any]) -> Iterable[str]:
    for entry in entries:
        if isinstance(entry, dict):
            fields = cast("dict[str, Any]", entry)
            if fields.get("special") and isinstance(fields.get("content"), str):
                yield fields["content"]


def _iterate_token_texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _iterate_token_texts(cast("dict[str, Any]", value).get("content"))
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _iterate_token_texts(item)


def _join_templates(value: object) -> str:
    """Return one template or several named templates as one text."""
    return value if isinstance(value, str) else json.dumps(value or "", ensure_ascii=False)


def extract_tokenizer_marks(tokenizer: Any) -> ControlMarks:
    """Return the control tokens of a loaded transformers tokenizer; empty if it lists none."""
    added_tokens = cast("dict[int, Any]", getattr(tokenizer, "added_tokens_decoder", None) or {})
    marks = {str(token.content) for token in added_tokens.values() if token.special}
    marks |= set(_iterate_token_texts(list(getattr(tokenizer, "all_special_tokens", None) or [])))
    marks |= set(_TEMPLATE_MARK.findall(_join_templates(getattr(tokenizer, "chat_template", None))))
    return ControlMarks(_select_breakable_marks(marks))


def load_home_marks(settings: Settings) -> ControlMarks:
    """Return the marks of all base models that are prepared in a home.

    Escaping another model's mark does no harm, because it is plain text to the answering model.
    This also covers a fallback to an older base model.
    """
    marks: set[str] = set()
    for record in settings.weights_dir.glob("*/*/base_model.json"):
        folder = record.parent / str(_read_json(record).get("folder", "."))
        marks |= set(load_folder_marks(folder))
    return ControlMarks(tuple(sorted(marks)))
