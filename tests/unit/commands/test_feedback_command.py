"""`twin feedback`: the request of its arguments, and the outbox in `twin status`."""

from __future__ import annotations

import pytest
from twin_cli.commands.answer_history import feedback_body
from twin_cli.commands.status import collect_status, outbox_lines

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import Outbox, QueuedScore, outbox_path
from twin_resources.settings import Settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_the_arguments_become_one_request() -> None:
    def body(**given: object) -> dict[str, object]:
        plain = {"up": False, "down": False, "score": None, "edit": ""}
        return feedback_body(TRACE, **(plain | given))  # pyright: ignore[reportArgumentType]

    assert body(up=True) == {"trace_id": TRACE, "thumb": "up"}
    assert body(down=True, edit="One drop.") == {
        "trace_id": TRACE,
        "thumb": "down",
        "edit": "One drop.",
    }
    assert body(score=0.0) == {"trace_id": TRACE, "score": 0.0}
    for wrong in ({}, {"up": True, "down": True}, {"up": True, "score": 0.5}, {"edit": "  "}):
        with pytest.raises(TwinError, match="give --up, --down or --score"):
            body(**wrong)


def test_status_tells_what_waits_and_why(home: Settings) -> None:
    assert collect_status(home).outbox == {}
    outbox = Outbox(outbox_path(home))
    assert outbox_lines(collect_status(home).outbox) == []
    outbox.put_scores([QueuedScore("a", TRACE, "thumbs", 1.0), QueuedScore("b", "", "thumbs", 1.0)])
    waiting = outbox.get_next_item()
    assert waiting is not None
    outbox.record_failure(waiting, "HTTP 503: away")
    refused = outbox.get_next_item()
    assert refused is not None
    outbox.mark_refused(refused, "HTTP 400")
    first, *rest = outbox_lines(collect_status(home).outbox)
    assert first.startswith("outbox: waiting for the trace store for ")
    assert rest == [
        "outbox: HTTP 503: away",
        "outbox: 1 rejected by the trace store, kept",
    ]
