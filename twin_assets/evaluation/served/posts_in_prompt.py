"""Add the author's posts to the base model's prompt, a baseline that needs no training.

Scope: choosing the posts, and their place in the prompt. Out of scope: asking the model and scoring
its answers (`measures/author_voice.py`).

The posts are in the system message, which is the same for every question. A server that caches a
common prefix, such as llama.cpp or vLLM, therefore reads them once.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twin_resources.quality.judges.judge_kind import TopicPair

POST_COUNT = 5
# Longest shown part of a post in words: five whole posts of 1,000 words each would fill the 4,096
# tokens that the embedded server has for a request.
MAX_WORDS = 160
HEADING = "This is how I write. From five of my posts:"


def select_posts(training: Sequence[TopicPair]) -> list[str]:
    """Return the longest passage of each of the first `POST_COUNT` documents, in the given order.

    Args:
        training: pairs of the training split, ordered by hash.
    """
    longest_passages: dict[str, str] = {}
    for pair in training:
        passage = " ".join(pair.answer.split()[:MAX_WORDS])
        if pair.document_id in longest_passages or len(longest_passages) < POST_COUNT:
            longest_passages[pair.document_id] = max(
                longest_passages.get(pair.document_id, ""), passage, key=len
            )
    return list(longest_passages.values())


def add_posts_to_prompt(
    messages: Sequence[Mapping[str, str]], posts: Sequence[str]
) -> list[dict[str, str]]:
    """Return the prompt with posts of the author in its system message.

    Args:
        messages: messages rendered by the template, with the system message first.
    """
    [system_message, *other_messages] = messages
    posts_text = "\n\n".join(f"[{number}]\n{post}" for number, post in enumerate(posts, 1))
    extended_message = {
        "role": system_message["role"],
        "content": f"{system_message['content']}\n\n{HEADING}\n\n{posts_text}",
    }
    return [extended_message, *(dict(message) for message in other_messages)]
