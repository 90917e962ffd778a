"""The embedded trace store: Langfuse's public API on one SQLite file.

Scope: its server, tables and queries. Out of scope: the client (`langfuse/`).
"""
