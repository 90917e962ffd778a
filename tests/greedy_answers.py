"""Query one model server once for each prompt, with greedy decoding."""

from __future__ import annotations

from collections.abc import Sequence

from twin_resources.models.serving.running_server import RunningServer
from twin_resources.models.serving.served_model import Prompt, PromptQueue, ServedAnswer


def request_answers(
    server: RunningServer, prompts: Sequence[Prompt], *, max_tokens: int
) -> list[ServedAnswer]:
    """Return the answers in prompt order."""
    queue = PromptQueue(prompts, max_tokens=[max_tokens])
    queue.query_server(server)
    return queue.answers_in_order()
