"""Accept an alarm from outside at `POST /twin/alarm`, which requests a retraining.

    POST /twin/alarm?author=mara-lindqvist     {"reason": "votes on Langfuse's dashboard fell"}

A monitor of Langfuse sends an envelope of its own (https://langfuse.com/docs, monitors): its title
is the reason, and a severity that is no alert requests nothing. The request has the limits of an
alarm (`manual_triggers.py`), and one request of a key and an author waits at most. Langfuse repeats
what is not answered with 2xx and switches the automation off in the end: a request that has to wait
is therefore answered with 200 too.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any

from twin_resources.access.keys import ALL_AUTHORS, Key
from twin_resources.access.refusals import RefusedError, bad_request, refuse_if_store_fails
from twin_resources.storage.state.state import State
from twin_resources.untrusted_json import parse_untrusted_json

MAX_REASON_CHARACTERS = 200
MONITOR_ALERT = "monitor-alert"  # type of the envelope of Langfuse's monitors
ALERT_SEVERITIES = ("ALERT", "WARNING")


async def store_alarm(
    state: State, key: Key, raw: bytes, *, named: str, authors: Collection[str]
) -> Mapping[str, Any]:
    """Store the request of one alarm and return the body of the response.

    Args:
        named: the author that the address names, or empty.
        authors: slugs of this home's authors.

    Raises:
        RefusedError: 400 if the body or the author is missing, 403 if the key may not ask for this
            author, 404 if there is no such author, 503 if the state store fails.
    """
    usage = (
        "name the author in the address (`/twin/alarm?author=SLUG`) and send "
        '{"reason": "…"}, or let a Langfuse monitor send its own envelope.'
    )
    try:
        body: Any = parse_untrusted_json(raw) if raw.strip() else {}
        author, reason, severity = body.get("author"), body.get("reason"), ALERT_SEVERITIES[0]
        if body.get("type") == MONITOR_ALERT:
            severity = body["payload"]["severity"]
            reason = body["payload"]["message"]["title"]
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise bad_request(f"The alarm cannot be read: {usage}", code="bad_alarm") from error
    author = str(named or author or "")
    if not author and len(key.authors) == 1 and ALL_AUTHORS not in key.authors:
        [author] = key.authors
    if not author:
        raise bad_request(f"The alarm has no author: {usage}", param="author", code="bad_alarm")
    if not key.may_ask(author):
        message = f"Use a key that was made with the author {author[:80]} (`twin keys add`)."
        raise RefusedError(403, "author_not_allowed", message, param="author")
    if author not in authors:
        message = f"There is no author {author[:80]}; `twin status` lists the slugs."
        raise RefusedError(404, "no_such_author", message, param="author")
    if severity not in ALERT_SEVERITIES:
        message = f"severity {severity} is no alert"
        return {"requested": False, "author": author, "message": message}
    printable = "".join(
        character if character.isprintable() else " " for character in str(reason or "")
    )
    line = " ".join(printable.split())[:MAX_REASON_CHARACTERS] or "no reason given"
    from twin_resources.quality.retraining.manual_triggers import request_after_alarm

    def request() -> tuple[int, bool]:
        return request_after_alarm(
            state,
            author,
            asked_by=f"alarm: {key.label}",
            reason=line,
            now=time.time(),
        )

    with refuse_if_store_fails(
        "alarm_not_stored", "the gateway's operator should run `twin status`."
    ):
        number, is_new = await asyncio.to_thread(request)
    message = (
        "a retraining is requested, within the limits of an alarm; see `twin status`"
        if is_new
        else "an earlier alarm of this key still waits; this one adds nothing"
    )
    return {"requested": is_new, "author": author, "number": number, "message": message}
