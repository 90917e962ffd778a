"""The sentence that tells a reader who wrote an answer: true of what answered this time.

Belongs here: the wording for each kind of writer. Does not belong here: finding out who answered
(`answering.py`), an author's own wording (`authors.Author.disclosure`, which stays as it is).
"""
# pyright: strict

from __future__ import annotations

from typing import Literal

from twin_resources.authors import Author

WrittenBy = Literal["tuned", "untuned", "paid", "fixed"]
"""Who wrote the prose: weights tuned on the posts, a model that is not, a paid one, or nobody."""

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
    if author.disclosure:
        return author.disclosure
    name = author.name
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


def _writer(name: str, written_by: WrittenBy, *, shown_posts: bool) -> str:
    if written_by == "tuned":
        return f"a language model trained on {name}'s posts"
    kind = "another provider's language model" if written_by == "paid" else "a language model"
    if shown_posts:
        return f"{kind} that was shown some of {name}'s posts and not trained on them"
    return f"{kind} that was not trained on {name}'s posts and shown none of them"
