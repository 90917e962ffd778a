"""Let the pages of a site call the gateway from a browser (CORS): exactly the origins of its keys.

Whether a key may be used from an origin is checked with the key (`Key.check_origin`). Browser
credentials (cookies) are not allowed, so a page can reach only what its own key permits.
Protocol: https://fetch.spec.whatwg.org/#http-cors-protocol
"""
# pyright: strict

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from twin_resources.access.keys import Keyring
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.json_answers import send_refusal

_MAX_AGE_S = 7200  # the maximum in Chrome


@dataclass(frozen=True)
class KeyOrigins:
    """An ASGI application that lets pages of the keys' origins read its answers.

    A page may send any header, because the allow-list drops those that it does not need (OpenAI's
    client sends a dozen `x-stainless-…`).

    Attributes:
        app: answers the requests.
        keyring: knows the origins.
    """

    app: ASGIApp
    keyring: Keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin")
        if origin is None:
            await self.app(scope, receive, send)
            return
        try:
            is_known = await asyncio.to_thread(self.keyring.has_origin, origin)
            if scope["method"] == "OPTIONS" and not is_known:
                raise RefusedError(
                    403,
                    "origin_not_allowed",
                    tried="accept a request from this page",
                    found=f"no key for pages of {origin[:200]}",
                    next_step="ask the twin's owner for a key for this site (`twin widget`)",
                )
        except RefusedError as error:
            await send_refusal(send, error)
            return
        permission = CORSMiddleware(
            self.app,
            allow_origins=[origin] if is_known else [],
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("x-request-id", "x-twin-trace-id", "retry-after"),
            max_age=_MAX_AGE_S,
        )
        await permission(scope, receive, send)
