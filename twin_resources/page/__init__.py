"""Serve the chat page, a Gradio page for the gateway.

Scope: what a browser shows. Out of scope: answering.
"""
