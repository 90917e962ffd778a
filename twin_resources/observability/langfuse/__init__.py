"""Langfuse's API as a client: reading and writing traces and scores, and the outbox before it.

Belongs here: what is true of a real Langfuse and of the embedded store alike. Does not belong here:
the embedded store itself (`trace_store/`).
"""
