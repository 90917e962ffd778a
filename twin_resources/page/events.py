"""How the page's clicks are served: what several tabs say of all their events.

Scope: these two kinds. Out of scope: what an event does.
"""

from typing import Any

# Whoever waits for an answer does not wait for somebody else's (Gradio's default is one at a time).
SIDE_BY_SIDE: dict[str, Any] = {
    "concurrency_limit": 16,
    "show_progress": "hidden",
    "api_visibility": "private",
}
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
