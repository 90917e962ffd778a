"""Ask every route that the LiteLLM proxy knows, through the door, in this process; print the
answers.

Scope: the walk. Out of scope: what the answers should be (`test_gateway_doors.py`).
Routes come from the proxy's own OpenAPI document and, because some are left out of it, from its
router. The proxy is not started: a request that passes the door answers something else than 404.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import httpx

from twin_resources.gateway.api.routes import ROUTES, RouteAllowlist
from twin_resources.gateway.runtime.app import application
from twin_resources.settings import load_secrets, load_settings

METHODS = {"get", "post", "put", "delete", "patch", "head", "options"}


def routes_of(app: Any) -> set[tuple[str, str]]:
    """(method, path) with parameters filled in."""
    found = {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if method in METHODS
    }
    for route in registered(app.routes):
        for method in getattr(route, "methods", None) or ("GET",):
            found.add((method, route.path))
    return {(method, re.sub(r"\{[^}]*\}", "x", path) or "/") for method, path in found}


def registered(routes: Iterable[Any]) -> Iterator[Any]:
    """Every route, also those that an included router holds (prefixes are in the document)."""
    for route in routes:
        if hasattr(route, "path"):
            yield route
        else:
            yield from registered(route.original_router.routes)


async def ask(door: RouteAllowlist, proxy: Any, key: str) -> list[tuple[str, str, bool]]:
    """(method, path, whether there is such a route at all)."""
    transport = httpx.ASGITransport(door, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://door", headers=headers
    ) as client:
        return [
            (method, path, exists(await client.request(method, path, json={})))
            for method, path in sorted(routes_of(proxy) | set(ROUTES))
        ]


def exists(answer: httpx.Response) -> bool:
    """Whether something answered; an answer to HEAD has no body that could say what is missing."""
    unknown = answer.request.method == "HEAD" or "no_such_route" in answer.text
    return answer.status_code != 404 or not unknown


def main() -> None:
    door = application()
    # LiteLLM's own application, which stands behind the terms of keys; not before it is configured
    from litellm.proxy.proxy_server import app

    key = load_secrets(load_settings()).gateway_master_key
    found = {
        "admin": asyncio.run(ask(door, app, key)),
        "none": asyncio.run(ask(door, app, "")),
        "modules": sorted(name for name in sys.modules if "." not in name),
    }
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
