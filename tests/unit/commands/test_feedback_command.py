"""Test the request that `twin feedback` sends, and the lines of `twin status` on the outbox."""

from __future__ import annotations

import pytest
from twin_cli.commands.answer_history import build_feedback_body
from twin_cli.commands.status import collect_status, format_outbox

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import Outbox, QueuedScore, outbox_path
from twin_resources.settings import Settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_the_arguments_become_one_request() -> None:
    def build_body(**changes: object) -> dict[str, object]:
        defaults = {"up": False, "down": False, "score": None, "edit": ""}
        return build_feedback_body(TRACE, **(defaults | changes))  # pyright: ignore[reportArgumentType]

    assert build_body(up=True) == {"trace_id": TRACE, "thumb": "up"}
    assert build_body(down=True, edit="One drop.") == {
        "trace_id": TRACE,
        "thumb": "down",
        "edit": "One drop.",
    }
    assert build_body(score=0.0) == {"trace_id": TRACE, "score": 0.0}
    for arguments in ({}, {"up": True, "down": True}, {"up": True, "score": 0.5}, {"edit": "  "}):
        with pytest.raises(TwinError, match="pass --up, --down or --score"):
            build_body(**arguments)


def test_the_status_shows_waiting_and_rejected_scores_and_the_cause(home: Settings) -> None:
    assert collect_status(home).outbox == {}
    outbox = Outbox(outbox_path(home))
    assert format_outbox(collect_status(home).outbox) == []
    outbox.put_scores([QueuedScore("a", TRACE, "thumbs", 1.0), QueuedScore("b", "", "thumbs", 1.0)])
    waiting_item = outbox.get_next_item()
    assert waiting_item is not None
    outbox.record_failure(waiting_item, "HTTP 503: away")
    refused_item = outbox.get_next_item()
    assert refused_item is not None
    outbox.mark_refused(refused_item, "HTTP 400")
    first, *other_lines = format_outbox(collect_status(home).outbox)
    assert first.startswith("outbox: waiting for the trace store for ")
    assert other_lines == [
        "outbox: HTTP 503: away",
        "outbox: 1 rejected by the trace store and kept",
    ]
