"""What the adapter of other authors is trained on: the bundled authors' posts as samples.

Belongs here: whose posts, and the samples that they become. Does not belong here: the posts
(`quality/judges/texts.py`), training (`reference_adapter.py`), an author's own samples
(`twin_assets/instructions`).

A passage is asked for as the control's are (`likelihood/control.py`): without context, by the
question that one function drafts from the passage itself.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from twin_assets.evaluation.likelihood.control import drafted_question
from twin_assets.instructions.back_translation import TEMPLATES_VERSION
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render
from twin_resources.quality.judges.texts import WriterSample, bundled_hands, of_others

VERSION = "1"  # goes up when the same posts become other samples


def other_hands(author: str, own: Iterable[str]) -> list[WriterSample]:
    """The bundled authors but the author, under whatever slug.

    Args:
        own: the author's texts.
    """
    return of_others(bundled_hands(without=[author]), own)


def samples_of(hands: Sequence[WriterSample]) -> list[dict[str, Any]]:
    """`sample_id`, `document_id` and `messages` of every passage, as a training job takes them."""
    return [
        {
            "sample_id": f"{document}/{number:03}",
            "document_id": document,
            "messages": [
                *render(
                    DEFAULT_TEMPLATE,
                    author_name=_display_name(hand.name),
                    question=drafted_question(text),
                ),
                {"role": "assistant", "content": text},
            ],
        }
        for hand in hands
        for document, passages in _by_document(hand)
        for number, text in enumerate(passages)
    ]


def posts_of(hands: Sequence[WriterSample]) -> list[Mapping[str, str]]:
    """`sample_id`, `document_id` and `text` of every post, for a recipe with a raw stage."""
    return [
        {"sample_id": document, "document_id": document, "text": "\n\n".join(passages)}
        for hand in hands
        for document, passages in _by_document(hand)
    ]


def hash_of_hands(hands: Sequence[WriterSample]) -> str:
    """SHA-256, hex, over all that decides the samples."""
    versions = [VERSION, TEMPLATES_VERSION, DEFAULT_TEMPLATE.hash]
    texts = [[hand.name, [list(passage) for passage in hand.passages]] for hand in hands]
    return hashlib.sha256(json.dumps([versions, texts]).encode()).hexdigest()


def _by_document(hand: WriterSample) -> list[tuple[str, list[str]]]:
    groups = groupby(hand.passages, key=lambda passage: passage[0])
    return [(f"{hand.name}/{name}", [text for _, text in found]) for name, found in groups]


def _display_name(slug: str) -> str:
    """As the author's own prompts have a name: the bundled slugs are names without accents."""
    return " ".join(part.capitalize() for part in slug.split("-"))
