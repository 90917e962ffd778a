"""What of a request a paid provider is shown: of posts and readers no more than was agreed to.

Belongs here: taking posts, personal data and secrets out of what leaves the machine, and naming
what is left. Does not belong here: which model answers (`routing/`), what the author's file masks
for every model (`guarding.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass, replace

from twin_resources.authors import Author
from twin_resources.authors.consent import consented_on
from twin_resources.gateway.found_passages import FoundPassages
from twin_resources.gateway.request_body import ChatRequest
from twin_resources.privacy import redact

NO_CONSENT = "no consent of the author: the paid model is shown no post"


@dataclass(frozen=True)
class ProviderView:
    """A request as a provider gets it.

    Attributes:
        saw: what, as the trace tells it.
        missing: why it gets less than there is; empty: it gets all of it.
    """

    asked: ChatRequest
    found: FoundPassages
    saw: str
    missing: str = ""


def provider_view(
    chat_request: ChatRequest, found_passages: FoundPassages, author: Author
) -> ProviderView:
    """Readers' texts without personal data and secrets; passages only with the author's consent."""

    def clean(text: str) -> str:
        return redact(text, region=author.language).text

    turns = tuple(
        {"role": turn["role"], "content": clean(turn["content"])} for turn in chat_request.history
    )
    chat_request = replace(
        chat_request,
        question=clean(chat_request.question),
        system=clean(chat_request.system),
        history=turns,
    )
    missing = ""
    if consented_on(author) is None and found_passages.passages:
        found_passages, missing = replace(found_passages, passages=()), NO_CONSENT
    saw = ["question"]
    saw += [f"{len(turns)} earlier turns"] if turns else []
    saw += [f"{len(found_passages.passages)} passages"] if found_passages.passages else []
    return ProviderView(chat_request, found_passages, ", ".join(saw), missing)
