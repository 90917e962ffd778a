"""The state store: SQLite or PostgreSQL, its tables, and leases.

Scope: connections, schema and locks. Out of scope: what a row leads to.
"""
