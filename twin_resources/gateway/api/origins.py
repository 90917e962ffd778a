"""Let the pages of a site call the gateway from a browser (CORS): exactly the origins of its keys.

Whether a key may be used from an origin is checked with the key (`Key.check_origin`). Browser
credentials (cookies) are not allowed, so a page can reach only what its own key permits.
Protocol: https://fetch.spec.whatwg.org/#http-cors-protocol
"""
# pyright: strict

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from twin_resources.access.keys import Keyring
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.json_answers import refusal_response
from twin_resources.gateway.exchange.exchange import SOURCE_TYPE_HEADER, TRACE_HEADER

_MAX_AGE_S = 7200  # the maximum in Chrome


def allow_origins(app: ASGIApp, keyring: Keyring) -> ASGIApp:
    """Return an application that lets pages of the keys' origins read its answers.

    A page may send any header, because the allow-list drops those that it does not need (OpenAI's
    client sends a dozen `x-stainless-…`).
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin") if scope["type"] == "http" else None
        if origin is None:
            await app(scope, receive, send)
            return
        try:
            is_known = await asyncio.to_thread(keyring.has_origin, origin)
        except RefusedError as error:
            await refusal_response(error)(scope, receive, send)
            return
        permission = CORSMiddleware(
            app,
            allow_origins=[origin] if is_known else [],
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("x-request-id", TRACE_HEADER, SOURCE_TYPE_HEADER, "retry-after"),
            max_age=_MAX_AGE_S,
        )
        await permission(scope, receive, send)

    return answer
