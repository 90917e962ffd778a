"""Start Dagster's webserver for the stack with an access check.

    python -m twin_resources.page.dagster_pages -w WORKSPACE -h HOST -p PORT

Scope: the check, and starting the webserver with it. Out of scope: links and their tokens
(`links.py`), Dagster's own responses.

Dagster executes a mutation on GET for any Host and Origin, without a key. Any web page in a user's
browser could therefore stop a sensor or start a run. The check prevents this:

- Only the configured host names are accepted. This excludes another site's host name that resolves
  to this machine (DNS rebinding).
- A browser gets access through a one-time link (`twin open dagster`), which sets a cookie. This
  project's own commands send the home's admin key.
- Requests from other origins are refused. A browser must send its origin to change data or to open
  a websocket.
- Queries require POST, because a link or an image can make a browser send a GET request.

The commands `dagster-webserver` and `dagster dev` do not have this check.
Source: https://docs.dagster.io/api/clis/cli, dagster-webserver 1.13
"""
# pyright: strict

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twin_resources.page.links import (
    DAGSTER_PAGE,
    SAFE_METHODS,
    allowed_hosts,
    cookie_name,
    refuse_origin,
    use_link,
)
from twin_resources.settings import Settings, load_secrets, load_settings

HEALTH_PATH = "/server_info"  # returns only versions, so it needs no access check
ACCESS_DENIED_HTML = (
    "<h1>Dagster's pages open with a link</h1><p>Run <code>twin open dagster</code> on the machine "
    "that runs the twin. It opens them, or prints a link that works once and expires after ten "
    "minutes.</p>"
)


def add_access_guard(app: Starlette, settings: Settings) -> Starlette:
    """Restrict Dagster's web application to this home's owner, and return it."""
    admin_key = load_secrets(settings).gateway_master_key
    # The secret is derived from the home's key, so a restart does not sign users out. It differs
    # from the chat page's secret, because readers may get links to that page.
    cookie_secret = hmac.new(admin_key.encode(), DAGSTER_PAGE.encode(), hashlib.sha256).hexdigest()
    use_dagster_link = partial(use_link, settings, page_kind=DAGSTER_PAGE)
    app.add_middleware(DagsterGuard, admin_key=admin_key, use_link=use_dagster_link)
    # The last middleware is outermost, so the cookie is read before the guard checks it.
    app.add_middleware(
        SessionMiddleware,
        secret_key=cookie_secret,
        session_cookie=cookie_name(settings, DAGSTER_PAGE),
        same_site="strict",
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts(settings))
    return app


class DagsterGuard:
    """ASGI middleware that refuses unauthorized requests before Dagster sees them.

    Args:
        admin_key: key that programs send as `Authorization: Bearer …`.
        use_link: function that returns whether a token opens the pages; each token works once.
    """

    def __init__(self, app: ASGIApp, *, admin_key: str, use_link: Callable[[str], bool]) -> None:
        self._app = app
        self._bearer = f"Bearer {admin_key}".encode()
        self._use_link = use_link

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        response = self._check_access(connection)
        if response is None:
            await self._app(scope, receive, _deny_framing(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await response(scope, receive, send)

    def _check_access(self, connection: HTTPConnection) -> Response | None:
        """Return the response that refuses the request, or None to let Dagster respond."""
        method: str = connection.scope.get("method", "")  # a websocket has no method
        if connection.url.path == HEALTH_PATH and method in SAFE_METHODS:
            return None
        if connection.url.path == "/open" and method == "GET":
            return self._open_link(connection)
        origin = connection.headers.get("origin")
        refusal = refuse_origin(method, origin=origin, host=connection.headers.get("host", ""))
        has_admin_key = self._has_admin_key(connection)
        if refusal and not (has_admin_key and origin is None):  # a program sends no origin
            return PlainTextResponse(refusal, status_code=403)
        if not has_admin_key and not connection.session.get(DAGSTER_PAGE):
            return HTMLResponse(ACCESS_DENIED_HTML, status_code=403)
        if method in SAFE_METHODS and connection.url.path == "/graphql" and connection.query_params:
            return PlainTextResponse("use POST", status_code=405, headers={"allow": "POST"})
        return None

    def _has_admin_key(self, connection: HTTPConnection) -> bool:
        header = connection.headers.get("authorization", "").encode()
        return hmac.compare_digest(header, self._bearer)

    def _open_link(self, connection: HTTPConnection) -> Response:
        if not self._use_link(connection.query_params.get("link", "")):
            return HTMLResponse(ACCESS_DENIED_HTML, status_code=403)
        connection.session[DAGSTER_PAGE] = True
        path = connection.query_params.get("path", "/")
        # The path must be on this server; `//host` and `/\host` are addresses of other machines.
        is_local_path = path.startswith("/") and path[1:2] not in {"/", "\\"}
        return RedirectResponse(path if is_local_path else "/", status_code=303)


def _deny_framing(send: Send) -> Send:
    """Add a header that forbids framing, so that other pages cannot capture clicks."""

    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["x-frame-options"] = "DENY"
        await send(message)

    return send_with_header


def main() -> None:
    """Run Dagster's command line with the access check added to its application."""
    cli: Any = import_module("dagster_webserver.cli")
    settings = load_settings()
    make_app = cli.create_app_from_workspace_process_context

    def make_guarded_app(*context: Any, **options: Any) -> Starlette:
        return add_access_guard(make_app(*context, **options), settings)

    cli.create_app_from_workspace_process_context = make_guarded_app
    cli.cli(auto_envvar_prefix="DAGSTER_WEBSERVER")


if __name__ == "__main__":
    main()
