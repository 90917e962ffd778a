"""The embedded trace store: Langfuse's public API on one SQLite file.

Belongs here: its server, tables and queries. Does not belong here: the client (`langfuse/`).
"""
