"""Define the event options that several tabs share.

Scope: the options of two kinds of events. Out of scope: the handlers.
"""

from typing import Any

# Answers must not wait for each other; by default, Gradio handles only one event at a time.
CONCURRENT_EVENT: dict[str, Any] = {
    "concurrency_limit": 16,
    "show_progress": "hidden",
    "api_visibility": "private",
}
UNQUEUED_EVENT: dict[str, Any] = {
    "queue": False,
    "show_progress": "hidden",
    "api_visibility": "private",
}
