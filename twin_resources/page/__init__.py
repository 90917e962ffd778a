"""The chat page: a Gradio page on the endpoint.

Scope: what a browser shows. Out of scope: answering.
"""
