"""The state store: SQLite or PostgreSQL, its tables, and leases.

Scope: connections, schema and locks. Out of scope: the meaning of rows.
"""
