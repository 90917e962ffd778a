"""Serve the chat page, a Gradio user interface for the gateway.

Scope: the user interface. Out of scope: generating answers.
"""
