"""Read and write traces and scores through Langfuse's API, with an outbox in front of it.

Scope: the API that a real Langfuse and the embedded store share. Out of scope: the embedded store
(`trace_store/`).
"""
