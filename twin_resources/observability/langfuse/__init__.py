"""Langfuse's API as a client: reading and writing traces and scores, and the outbox before it.

Scope: what is true of a real Langfuse and of the embedded store alike. Out of scope:
the embedded store itself (`trace_store/`).
"""
