"""Request every route of the LiteLLM proxy through the gateway, and print which routes exist.

The routes come from the proxy's OpenAPI document and from its router, because the document omits
some. The proxy is not started; routes that the gateway allows return a status other than 404.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import httpx
from starlette.types import ASGIApp

from twin_resources.gateway.api.routes import MCP_ROUTE, ROUTES
from twin_resources.gateway.runtime.app import application
from twin_resources.settings import load_secrets, load_settings

METHODS = {"get", "post", "put", "delete", "patch", "head", "options"}


def collect_routes(app: Any) -> set[tuple[str, str]]:
    """Return the method and the path of every route, with values for the path parameters."""
    routes = {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if method in METHODS
    }
    for route in iterate_routes(app.routes):
        for method in getattr(route, "methods", None) or ("GET",):
            routes.add((method, route.path))
    return {(method, re.sub(r"\{[^}]*\}", "x", path) or "/") for method, path in routes}


def iterate_routes(routes: Iterable[Any]) -> Iterator[Any]:
    """Yield every route, including those of included routers."""
    for route in routes:
        if hasattr(route, "path"):
            yield route
        else:
            yield from iterate_routes(route.original_router.routes)


async def request_routes(gateway: ASGIApp, proxy: Any, key: str) -> list[tuple[str, str, bool]]:
    """Request every route, and return its method, path and whether it exists."""
    transport = httpx.ASGITransport(gateway, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://gateway", headers=headers
    ) as client:
        return [
            (method, path, route_exists(await client.request(method, path, json={})))
            for method, path in sorted(collect_routes(proxy) | set(ROUTES))
        ]


def route_exists(answer: httpx.Response) -> bool:
    """Return whether the route exists; responses to HEAD have no body that names the error.

    The gateway itself refuses every other method of the agents' route with 405.
    """
    if answer.request.url.path == MCP_ROUTE[1] and answer.request.method != MCP_ROUTE[0]:
        return (answer.status_code, answer.headers.get("allow")) != (405, MCP_ROUTE[0])
    is_unknown = answer.request.method == "HEAD" or "no_such_route" in answer.text
    return answer.status_code != 404 or not is_unknown


def main() -> None:
    gateway = application()
    # This is LiteLLM's own application; it must be imported after the configuration.
    from litellm.proxy.proxy_server import app

    key = load_secrets(load_settings()).gateway_master_key
    result = {
        "admin": asyncio.run(request_routes(gateway, app, key)),
        "none": asyncio.run(request_routes(gateway, app, "")),
        "modules": sorted(name for name in sys.modules if "." not in name),
    }
    sys.stdout.write("\n" + json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
