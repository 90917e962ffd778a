"""Serve the chat page, a Gradio page for the gateway.

Scope: the content of the browser. Out of scope: answering.
"""
