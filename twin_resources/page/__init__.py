"""Serve the chat page, a Gradio user interface for the gateway.

Scope: the page's tabs, links and HTML, and the access check in front of Dagster's pages.
Out of scope: generating answers (the gateway).
"""
