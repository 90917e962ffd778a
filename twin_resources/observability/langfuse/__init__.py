"""Read traces and scores with Langfuse's API, and write them through an outbox.

Scope: the clients of a real Langfuse and of the embedded store, which has the same API. Out of
scope: the embedded store itself (`trace_store/`).
"""
