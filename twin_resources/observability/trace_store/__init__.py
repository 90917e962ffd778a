"""Implement the embedded trace store: Langfuse's public API on one SQLite file.

Scope: the server, tables and queries. Out of scope: the client (`langfuse/`).
"""
