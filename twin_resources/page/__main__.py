"""Run the chat page's process on the loopback interface: `python -m twin_resources.page`.

Scope: reading the settings and running the server. Out of scope: the page itself.
"""

from __future__ import annotations

import os
import sys

from twin_resources.errors import TwinError
from twin_resources.settings import load_settings

# Set these before importing Gradio, which reads them during import.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def main() -> int:
    """Run the server until it is stopped; return 1 if it cannot start."""
    import uvicorn

    from twin_resources.page.gateway_client import GatewayClient
    from twin_resources.page.links import load_page_access
    from twin_resources.page.page import build_app
    from twin_resources.processes.endpoints import urls

    settings = load_settings()
    try:
        page_access = load_page_access(settings)
        gateway = GatewayClient(urls(settings)["gateway"], page_access.key)
        app = build_app(settings, gateway, cookie_secret=page_access.cookie_secret)
    except TwinError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.chat_port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,  # an open page keeps its connection
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
