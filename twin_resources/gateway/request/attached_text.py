"""Find the question in a message into which a chat program has pasted a document.

Scope: finding the question. Out of scope: the maximum length of a message (`request_body.py`),
retrieval for the question (`passage_finder.py`).

Programs without tools paste an attached document into the message, usually between tags, before or
after the question. A search for the first 1,000 characters would search for the document.
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


def extract_question(message: str, *, max_characters: int) -> str:
    """Return the question in a message.

    Args:
        message: the message as the reader's program sent it.
        max_characters: maximum length of a search text; a shorter message without tags is returned
            whole.

    Returns:
        The content of a question tag, otherwise the message without documents. If that is longer
        than `max_characters`, the last paragraph is returned, or the first if only the first has a
        question mark.
    """
    match = _QUESTION.search(message)
    if match:
        return match[2].strip()
    remaining_text = _DOCUMENTS.sub("\n\n", message).strip() or message
    if len(remaining_text) <= max_characters:
        return remaining_text
    paragraphs = [part.strip() for part in _PARAGRAPHS.split(remaining_text) if part.strip()]
    first_paragraph, last_paragraph = paragraphs[0], paragraphs[-1]
    return (
        first_paragraph if "?" in first_paragraph and "?" not in last_paragraph else last_paragraph
    )
