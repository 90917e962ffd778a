"""The sentence that tells a reader who wrote an answer: true of what answered this time.

Scope: the wording for each kind of writer. Out of scope: finding out who answered
(`request_record.py`), an author's own wording, which stays as it is (`authors.Author`).
"""
# pyright: strict

from __future__ import annotations

from typing import Literal

from twin_resources.authors import Author

PLACES = ("field", "first", "each")
WrittenBy = Literal["tuned", "untuned", "paid", "fixed", "program"]
"""Who wrote the prose: weights tuned on the posts, a model that is not, a paid one, or nobody: a
the front desk or a guard answers."""

AnswerKind = Literal["quote", "quote_and_voice", "voice", "not_written_about"]
"""Of what an answer consists; see the field `twin.answer`."""


def disclosure(
    author: Author, *, written_by: WrittenBy, shown_posts: bool, answer: AnswerKind = "voice"
) -> str:
    """The disclosure of one answer.

    Args:
        author: whose twin it is; a sentence of the author's file is taken as it stands.
        written_by: who wrote the prose of the answer.
        shown_posts: passages stood in the prompt.
        answer: what it consists of.
    """
    if own := own_sentence(author):
        return own
    name = author.name
    if written_by == "program":
        return f"A fixed text of this program; {name} did not write to you, and no model wrote it."
    if written_by == "fixed":
        return f"A fixed sentence about a topic that is declined here, not written by {name}."
    if answer == "quote":
        return f"{name}'s own sentences, found in the posts by a program; no model wrote any."
    if answer == "not_written_about":
        return f"A program found nothing about this in {name}'s posts; {name} did not write this."
    writer = _writer(name, written_by, shown_posts=shown_posts)
    if answer == "quote_and_voice":
        return f"The quoted sentences are {name}'s own; the others were written by {writer}."
    return f"Written by {writer}, not by {name}."


def own_sentence(author: Author) -> str:
    """The author's own, in place of a word of `PLACES`."""
    return "" if author.disclosure in {"", *PLACES} else author.disclosure


def stands_above(author: Author, *, first: bool, is_document: bool) -> bool:
    """Whether the disclosure stands above the text of an answer too, for clients that show nothing
    else.

    Args:
        first: nobody has answered in this conversation yet.
        is_document: the client asked for JSON, in which no sentence has a place.
    """
    return not is_document and (
        author.disclosure == "each" or (author.disclosure == "first" and first)
    )


def _writer(name: str, written_by: WrittenBy, *, shown_posts: bool) -> str:
    if written_by == "tuned":
        return f"a language model trained on {name}'s posts"
    kind = "another provider's language model" if written_by == "paid" else "a language model"
    if shown_posts:
        return f"{kind} that was shown some of {name}'s posts and not trained on them"
    return f"{kind} that was not trained on {name}'s posts and shown none of them"
