"""A request of Ann's reader, as far as a record of its answer needs it."""

from __future__ import annotations

from datetime import date
from typing import Any

from twin_resources.access.keys import Key
from twin_resources.authors import Author
from twin_resources.gateway.exchange.exchange import Exchange
from twin_resources.gateway.request.request_body import read_question
from twin_resources.gateway.routing.snapshot import Snapshot

ANN = Author("ann", "Ann")


def exchange_of(
    *, sent: dict[str, Any] | None = None, author: Author = ANN, **fields: Any
) -> Exchange:
    """Ann is asked for her oil."""
    turns = [{"role": "user", "content": "Which oil?"}]
    return Exchange(
        chat_request=read_question({"model": "twin/ann", "messages": turns} | (sent or {})),
        key=Key("r", "reader", frozenset({"*"}), "a reader"),
        snapshot=Snapshot({"ann": author}, None, {}),
        day=date(2026, 3, 1),
        **fields,
    )
