"""The chat page: a Gradio page on the endpoint.

Belongs here: what a browser shows. Does not belong here: answering.
"""
