"""The embedded trace store: a part of Langfuse's public API on one SQLite file.

Scope: the server, its tables and queries. Out of scope: the client (`langfuse/`).
"""
