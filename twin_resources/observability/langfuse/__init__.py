"""Read traces and scores through Langfuse's API, and write them through an outbox.

Scope: clients of both a real Langfuse and the embedded store. Out of scope: the embedded store
itself (`trace_store/`).
"""
