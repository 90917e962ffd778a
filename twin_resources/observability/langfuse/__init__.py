"""Read and write traces and scores through Langfuse's API, with an outbox in front of it.

Scope: behaviour shared by a real Langfuse and the embedded store. Out of scope: the embedded store
itself (`trace_store/`).
"""
