"""The state store: SQLite or PostgreSQL, its tables, and leases.

Belongs here: connections, schema and locks. Does not belong here: what a row leads to.
"""
