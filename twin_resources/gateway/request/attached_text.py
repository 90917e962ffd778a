"""What a message asks, beside a document that a chat program has put into it.

Scope: finding the question. Out of scope: how long a message may be
(`request_body.py`), what is found for it (`found_passages.py`).

Programs without tools paste an attached document into the message, mostly between tags, before or
behind the question. A search for the first 1,000 characters looked for the document.
"""
# pyright: strict

from __future__ import annotations

import re

_QUESTION = re.compile(r"<(user_query|query|question)>(.+?)</\1>", re.DOTALL | re.IGNORECASE)
_DOCUMENTS = re.compile(
    r"<(context|documents?|files?|file_content|sources?|attachments?|knowledge)\b[^>]{0,200}>"
    r".*?(?:</\1>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_PARAGRAPHS = re.compile(r"\n\s*\n")


def question_in(message: str, *, most: int) -> str:
    """The part of a message that asks.

    Args:
        message: as the reader's program sent it.
        most: characters that one search reads; a message without tags that is not longer is its
            own question.

    Returns:
        What stands in a tag for it; else what is left without documents, and of more than `most`
        characters the last paragraph, or the first where that one alone holds a question mark.
    """
    tagged = _QUESTION.search(message)
    if tagged:
        return tagged[2].strip()
    left = _DOCUMENTS.sub("\n\n", message).strip() or message
    if len(left) <= most:
        return left
    paragraphs = [part.strip() for part in _PARAGRAPHS.split(left) if part.strip()]
    first, last = paragraphs[0], paragraphs[-1]
    return first if "?" in first and "?" not in last else last
