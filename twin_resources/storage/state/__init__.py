"""Store the transactional state in SQLite or PostgreSQL, with its tables and leases.

Scope: connections, schema and locks.
Out of scope: the meaning of rows.
"""
