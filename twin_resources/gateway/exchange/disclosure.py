"""Compose the sentence that names the writer of an answer.

Scope: the wording for each kind of writer. Out of scope: which writer answered
(`request_record.py`), an author's own wording, which is used unchanged (`authors.Author`).
"""
# pyright: strict

from __future__ import annotations

from typing import Literal

from twin_resources.authors import Author

DISCLOSURE_PLACES = ("field", "first", "each")
Writer = Literal["tuned", "untuned", "paid", "fixed", "program"]
"""Writer of an answer: a model tuned on the posts, an untuned model, a paid model, a guard
(`fixed`) or the front desk (`program`)."""

AnswerKind = Literal["quote", "quote_and_voice", "voice", "not_found"]
"""Parts of an answer; see the field `twin.answer`."""


def get_disclosure(
    author: Author, *, writer: Writer, has_passages: bool, answer: AnswerKind = "voice"
) -> str:
    """Return the disclosure of one answer.

    Args:
        author: the author of the twin; a sentence in the author's file is used unchanged.
        writer: the kind of writer that answered.
        has_passages: whether the prompt contained passages.
        answer: parts of the answer.
    """
    if author.disclosure not in {"", *DISCLOSURE_PLACES}:
        return author.disclosure
    name = author.name
    if writer == "program":
        return f"A fixed text from this program; neither {name} nor a model wrote it."
    if writer == "fixed":
        return f"A fixed sentence that declines this topic; {name} did not write it."
    if answer == "quote":
        return f"{name}'s own sentences, found in the posts by a program; no model wrote them."
    if answer == "not_found":
        return f"A program found no answer in {name}'s posts; only the passages are {name}'s words."
    description = _describe_writer(name, writer, has_passages=has_passages)
    if answer == "quote_and_voice":
        return f"The quoted sentences are {name}'s own; the others were written by {description}."
    return f"Written by {description}, not by {name}."


def has_disclosure_above(author: Author, *, is_first: bool, is_json: bool) -> bool:
    """Return whether the disclosure is also placed above the text of an answer.

    Some clients show only that text.

    Args:
        is_first: whether this is the first answer of the conversation.
        is_json: whether the client requested JSON, which cannot contain this sentence.
    """
    return not is_json and (
        author.disclosure == "each" or (author.disclosure == "first" and is_first)
    )


def _describe_writer(name: str, writer: Writer, *, has_passages: bool) -> str:
    if writer == "tuned":
        return f"a language model trained on {name}'s posts"
    model = "another provider's language model" if writer == "paid" else "a language model"
    if has_passages:
        return f"{model} that was shown some of {name}'s posts but not trained on them"
    return f"{model} that was not trained on {name}'s posts and was shown none of them"
