"""Break a model's control tokens in text written by people, so that they stay text.

Scope: finding the strings that a model reads as control tokens, and breaking them in a text. They
are its tokenizer's own list, the marks of its chat template, and those of the known model families.
Out of scope: assembling a prompt (`prompt/templates.py` applies this to all content).

A tokenizer reads `<|im_end|>` in any text as the single token that ends a turn, and the server
reads a prompt with special tokens enabled. A question could therefore open its own system turn
(one reader's did, and the twin answered as a pirate). A space after a mark's first character turns
it into text (`< |im_end|>`) for byte-level, SentencePiece and WordPiece tokenizers alike; some
normalizers would remove an invisible character. Text without a mark is returned unchanged, so
older datasets, checkpoints and templates stay the same.

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

# Marks that the tokenizers of chat models share. They are part of every list because a server
# whose tokenizer is not on this machine may answer. `<s>` and `<pad>` are not included: they are
# common in posts about HTML, and a tokenizer that has them lists them.
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
    """The marks of one or more models, always including those of the families.

    Attributes:
        marks: marks as the tokenizers write them.
    """

    marks: tuple[str, ...] = ()

    def escape(self, text: str) -> str:
        """Return the text with every mark broken, or the same string if it has none.

        Breaking is repeated until no mark is found, so that the pieces of one mark cannot form
        another; the method is idempotent. Letters that a normalizer folds (full-width ones) count
        as their folded form.
        """
        folded = _fold(text)
        while positions := [match.start() for match in self._pattern.finditer(folded)]:
            for start in reversed(positions):
                text = f"{text[: start + 1]} {text[start + 1 :]}"
                folded = f"{folded[: start + 1]} {folded[start + 1 :]}"
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
        own = sorted({_fold(mark) for mark in self.marks}, key=len, reverse=True)
        return re.compile("|".join((*map(re.escape, own), *_FAMILY_PATTERNS)))


COMMON_MARKS = ControlMarks()


def _fold(text: str) -> str:
    """Return the text with each character folded by NFKC if the result is a single character."""
    if text.isascii():
        return text
    folded = (unicodedata.normalize("NFKC", character) for character in text)
    # U+FF5C is a character of DeepSeek marks; folded, it would form another mark.
    return "".join(
        other if len(other) == 1 and one != "\uff5c" else one
        for one, other in zip(text, folded, strict=True)
    )


def load_folder_marks(folder: Path) -> tuple[str, ...]:
    """Return the control tokens of the tokenizer in a transformers folder; none without its files.

    They are the tokens that `tokenizer.json` or `tokenizer_config.json` mark as special, the
    special tokens that have a role (`eos_token` …), and the marks in the chat template. In some
    models, plain text that is not a token begins a turn.
    """
    stamps = tuple(_stamp(folder / name) for name in (*_TOKENIZER_FILES, _TEMPLATE_FILE))
    return _read_marks(folder, stamps)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=16)  # the tokenizer of an 8B model is a JSON of 9 MB
def _read_marks(folder: Path, _stamps: tuple[tuple[int, int], ...]) -> tuple[str, ...]:
    tokenizer, config, special_tokens = (_read_json(folder / name) for name in _TOKENIZER_FILES)
    marks = set(_iterate_special_tokens(cast("list[Any]", tokenizer.get("added_tokens") or [])))
    decoder = cast("dict[str, Any]", config.get("added_tokens_decoder") or {})
    marks |= set(_iterate_special_tokens(list(decoder.values())))
    for document in (config, special_tokens):
        for name, value in document.items():
            if name.endswith("_token") or name == "additional_special_tokens":
                marks |= set(_iterate_token_texts(value))
    template = _template_text(config.get("chat_template"))
    if (folder / _TEMPLATE_FILE).is_file():
        template += (folder / _TEMPLATE_FILE).read_text(encoding="utf-8")
    marks |= set(_TEMPLATE_MARK.findall(template))
    return _select_breakable_marks(marks)


def _select_breakable_marks(marks: Iterable[str]) -> tuple[str, ...]:
    # A single character cannot be broken, and no chat model uses one to mark a turn.
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


def _template_text(value: object) -> str:
    """Return a template, or several by name, as one text to search."""
    return value if isinstance(value, str) else json.dumps(value or "", ensure_ascii=False)


def extract_tokenizer_marks(tokenizer: Any) -> ControlMarks:
    """Return the control tokens of a loaded transformers tokenizer; empty if it names none."""
    added = cast("dict[int, Any]", getattr(tokenizer, "added_tokens_decoder", None) or {})
    marks = {str(token.content) for token in added.values() if token.special}
    marks |= set(_iterate_token_texts(list(getattr(tokenizer, "all_special_tokens", None) or [])))
    marks |= set(_TEMPLATE_MARK.findall(_template_text(getattr(tokenizer, "chat_template", None))))
    return ControlMarks(_select_breakable_marks(marks))


def load_home_marks(settings: Settings) -> ControlMarks:
    """Return the marks of all base models prepared in a home, whichever of them answers.

    Breaking another model's mark as well does no harm, because it is plain text to this model. It
    also covers a fallback to an older base model.
    """
    own: set[str] = set()
    for record in settings.weights_dir.glob("*/*/base_model.json"):
        folder = record.parent / str(_read_json(record).get("folder", "."))
        own |= set(load_folder_marks(folder))
    return ControlMarks(tuple(sorted(own)))
