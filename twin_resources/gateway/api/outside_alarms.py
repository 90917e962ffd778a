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
from typing import Any, cast
from urllib.parse import parse_qs

from twin_resources.access.keys import ALL_AUTHORS, Key
from twin_resources.access.refusals import RefusedError, bad_request, refuse_if_store_fails
from twin_resources.storage.state.state import State
from twin_resources.untrusted_json import parse_untrusted_json

MAX_REASON_CHARACTERS = 200
MONITOR_ALERT = "monitor-alert"  # type of the envelope of Langfuse's monitors
ALERT_SEVERITIES = ("ALERT", "WARNING")


async def store_alarm(
    state: State, key: Key, raw: bytes, *, query: str, authors: Collection[str]
) -> Mapping[str, Any]:
    """Store the request of one alarm and return the body of the response.

    Args:
        query: the query string, which may name the author.
        authors: slugs of this home's authors.

    Raises:
        RefusedError: 400 if the body or the author is missing, 403 if the key may not ask for this
            author, 404 if there is no such author, 503 if the state store fails.
    """
    body = _parse_body(raw)
    author = _find_author(body, key, query, authors)
    reason, severity = _read_reason(body)
    if severity and severity not in ALERT_SEVERITIES:
        return {"requested": False, "author": author, "message": f"severity {severity} is no alert"}
    from twin_resources.quality.retraining.manual_triggers import request_after_alarm

    def request() -> tuple[int, bool]:
        return request_after_alarm(
            state, author, asked_by=f"alarm: {key.label}", reason=reason, now=time.time()
        )

    with refuse_if_store_fails(
        "alarm_not_stored",
        action="store the alarm",
        next_step="send it again later; the gateway's operator should run `twin status`",
    ):
        number, is_new = await asyncio.to_thread(request)
    message = (
        "a retraining is requested, within the limits of an alarm; see `twin status`"
        if is_new
        else "an earlier alarm of this key still waits; this one adds nothing"
    )
    return {"requested": is_new, "author": author, "number": number, "message": message}


def _parse_body(raw: bytes) -> Mapping[str, Any]:
    try:
        body: Any = parse_untrusted_json(raw) if raw.strip() else {}
    except ValueError as error:
        raise _bad_alarm("", found=f"a body that is not JSON ({error})") from error
    if not isinstance(body, dict):
        raise _bad_alarm("", found="JSON that is not an object")
    return cast("dict[str, Any]", body)


def _find_author(body: Mapping[str, Any], key: Key, query: str, authors: Collection[str]) -> str:
    named = parse_qs(query).get("author", [""])[-1] or body.get("author") or ""
    if not named and len(key.authors) == 1 and ALL_AUTHORS not in key.authors:
        [named] = key.authors
    if not isinstance(named, str) or not named:
        raise _bad_alarm("author", found="no author")
    if not key.may_ask(named):
        raise RefusedError(
            403,
            "author_not_allowed",
            tried=f"request a retraining of {named[:80]}",
            found="a key for other authors",
            next_step="use a key that was made with this author (`twin keys add`)",
            param="author",
        )
    if named not in authors:
        raise RefusedError(
            404,
            "no_such_author",
            tried=f"request a retraining of {named[:80]}",
            found="no author with that slug",
            next_step="use a slug that `twin status` lists",
            param="author",
        )
    return named


def _read_reason(body: Mapping[str, Any]) -> tuple[str, str]:
    """Return the reason in one line, and the severity of a monitor's envelope or ""."""
    reason, severity = body.get("reason"), ""
    if body.get("type") == MONITOR_ALERT:
        payload = body.get("payload")
        alert = cast("dict[str, Any]", payload) if isinstance(payload, dict) else {}
        message = alert.get("message")
        texts = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
        reason, severity = texts.get("title"), str(alert.get("severity") or "UNKNOWN")
    printable = "".join(
        character if character.isprintable() else " " for character in str(reason or "")
    )
    return " ".join(printable.split())[:MAX_REASON_CHARACTERS] or "no reason given", severity


def _bad_alarm(param: str, *, found: str) -> RefusedError:
    return bad_request(
        param,
        action="read the alarm",
        found=found,
        next_step='name the author in the address (`/twin/alarm?author=SLUG`) and send {"reason": '
        '"…"}, or let a Langfuse monitor send its own envelope',
        code="bad_alarm",
    )
